"""What a family of models is, and how its files are made.

Weights come from NumPy generators seeded with the group's name, so that they do not
depend on the version of PyTorch. They are drawn wider than transformers does: its
0.02 leaves every attention row close to uniform, which would hide a wrong mask or
scale. Families of one group share one file of weights, GROUP.weights.

A reference holds NaN where an output does not matter: what a decoder computes for
padding, which no real token reads.
"""
import contextlib
import dataclasses
import pathlib
import tempfile
import typing
import warnings
import zlib

import numpy as np
import onnx
import torch

from . import files

MODELS = pathlib.Path(__file__).resolve().parents[1]
REFERENCES = MODELS.parent / "e2e"
# Relative L2 error of ONNX Runtime against PyTorch that an export may have.
BOUND = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}
# Axes that vary, by the name of the input or output.
AXES = {
    "input_ids": ["batch", "sequence"], "attention_mask": ["batch", "sequence"],
    "token_type_ids": ["batch", "sequence"], "position_ids": ["batch", "sequence"],
    "pixel_values": ["batch"], "input_features": ["batch"],
    "decoder_input_ids": ["batch", "decoder_sequence"],
    "encoder_hidden_states": ["batch", "sequence"],
    "encoder_attention_mask": ["batch", "sequence"],
    "last_hidden_state": ["batch", "sequence"], "logits": ["batch", "sequence"],
}


class Wrapped(torch.nn.Module):
    """A model with positional tensors in and out; `call` maps names to tensors."""

    def __init__(self, model, inputs, call):
        super().__init__()
        self.model, self.inputs, self.call = model, inputs, call

    def forward(self, *args):
        return self.call(self.model, dict(zip(self.inputs, args)))


@dataclasses.dataclass
class Family:
    name: str
    group: str  # whose weights it has
    build: typing.Callable  # attention -> torch model, its weights still any
    inputs: list
    outputs: list
    call: typing.Callable  # (model, {input: tensor}) -> tuple of tensors
    cases: typing.Callable  # () -> {case: feed}
    exports: list  # of (exporter, opset, attention)
    axes: dict = dataclasses.field(default_factory=dict)  # beside AXES
    real: typing.Callable = None  # (feed, output, array) -> mask of what matters
    dtype: torch.dtype = torch.float32
    reference: str = "eager"  # the attention that the reference is computed with
    fill: bool = True
    example: int = 1  # the case that exporters see

    def module(self, attention, dtype=None):
        model = self.build(attention).eval()
        if self.fill:
            fill(model, self.group)
        # `call` may change the model's dtype-dependent parts; it sees tensors alone.
        return Wrapped(model.to(dtype or self.dtype), self.inputs, self.call).eval()

    def axes_of(self, name):
        return self.axes.get(name, AXES.get(name, ["batch"]))


def fill(module, seed):
    """Every parameter from one generator, in the order of their names."""
    rng = np.random.default_rng(zlib.crc32(f"ferrite-{seed}".encode()))
    for name, parameter in sorted(module.named_parameters()):
        noise = rng.standard_normal(tuple(parameter.shape), dtype=np.float32)
        lower = name.lower()
        if parameter.ndim == 0:
            continue  # a temperature
        table = any(word in lower for word in (
            "emb", "wte", "wpe", "shared", "relative_attention_bias", "position_bias_table",
            "token", "sinks", "class_embedding", "probe"))
        if parameter.ndim == 1 and (parameter == 1).all():
            value = 1 + 0.2 * noise
        elif table and "projection" not in lower and not lower.endswith(".bias"):
            value = 0.7 * noise
        elif parameter.ndim == 1:
            value = 0.1 * noise
        elif "expert" in lower:
            value = 1.2 * noise / np.sqrt(noise.shape[-1])
        else:  # a matrix or a convolution, [outputs, inputs...]
            value = 1.2 * noise / np.sqrt(noise[0].size)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))


def tensors(inputs, feed):
    """Bits of bfloat16, which NumPy has not, come as uint16."""
    given = (torch.from_numpy(feed[name]) for name in inputs)
    return tuple(t.view(torch.bfloat16) if t.dtype == torch.uint16 else t for t in given)


def outputs_of(family, module, feed):
    """What PyTorch answers, NaN where it does not matter."""
    with torch.no_grad():
        out = module(*tensors(family.inputs, feed))
    out = out if isinstance(out, tuple) else (out,)
    assert len(out) == len(family.outputs), (len(out), family.outputs)
    answer = {}
    for name, value in zip(family.outputs, out):
        value = value.float().numpy().copy()
        if family.real:
            mask = family.real(feed, name, value)
            value[~np.broadcast_to(mask, value.shape)] = np.nan
        answer[name] = value
    return answer


def export(family, feed, exporter, opset, attention):
    """The model with all tensors inside it."""
    module, args = family.module(attention), tensors(family.inputs, feed)
    names = dict(input_names=family.inputs, output_names=family.outputs)
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings(), \
            torch.no_grad(), contextlib.redirect_stdout(None):
        warnings.simplefilter("ignore")
        path = str(pathlib.Path(scratch) / "model.onnx")
        if exporter == "dynamo":
            dims = {}
            shapes = tuple({axis: dims.setdefault(name, torch.export.Dim(name))
                            for axis, name in enumerate(family.axes_of(n)) if name}
                           for n in family.inputs)
            torch.onnx.export(module, args, path, dynamo=True, opset_version=opset,
                              external_data=False, dynamic_shapes=(shapes,),
                              verbose=False, **names)
        else:
            axes = {n: {axis: name for axis, name in enumerate(family.axes_of(n)) if name}
                    for n in [*family.inputs, *family.outputs]}
            torch.onnx.export(module, args, path, dynamo=False, opset_version=opset,
                              dynamic_axes=axes, do_constant_folding=True, **names)
        return onnx.load(path)


def relative_error(got, want):
    """Over what matters; both NaN-free there."""
    got, want = got.astype(np.float64), want.astype(np.float64)
    assert got.shape == want.shape, (got.shape, want.shape)
    real = ~np.isnan(want)
    return float(np.linalg.norm((got - want)[real])
                 / max(np.linalg.norm(want[real]), 1e-30))


def runner(path):
    """The file as an independent engine runs it, and the engine's name."""
    import onnxruntime as ort
    ort.set_default_logger_severity(4)
    try:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        return "ort", ort.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]).run
    except Exception:
        from onnx.reference import ReferenceEvaluator  # bf16, newest ops
        return "onnx", ReferenceEvaluator(str(path)).run


def answers(path, names, feed):
    """What an independent engine gives, and the engine's name."""
    taken = {i.name for i in onnx.load(str(path), load_external_data=False).graph.input}
    feed = {k: v for k, v in feed.items() if k in taken}
    engine, run = runner(path)
    if engine == "onnx":
        import ml_dtypes
        feed = {k: v.view(ml_dtypes.bfloat16) if v.dtype == np.uint16 else v
                for k, v in feed.items()}
    try:
        return engine, run(names, feed)
    except Exception:
        if engine == "onnx":
            raise
        from onnx.reference import ReferenceEvaluator
        return "onnx", ReferenceEvaluator(str(path)).run(names, feed)


def check(path, references, bound):
    """Worst error of an independent engine; False above the bound."""
    worst, note, engine = 0.0, "", "none"
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:
        note += f" checker: {str(error).splitlines()[0][:80]}"
    for case, (feed, want) in references.items():
        try:
            engine, got = answers(path, list(want), feed)
        except Exception as error:
            note += f" {case}: no engine runs it: {str(error.__context__ or error)[:200]}"
            worst = float("nan")
            continue
        for name, value in zip(want, got):
            error = relative_error(np.asarray(value).astype(np.float32), want[name])
            if not error <= bound:
                note += f" {case}:{name}={error:.1e}"
            worst = max(worst, error)
    bad = "  <-- NOT HELD" if not worst <= bound else ""
    print(f"{path.name:44s} {path.stat().st_size:8d} bytes  {engine} {worst:.1e}{note}{bad}",
          flush=True)
    return not bad


def make_references(family):
    """Writes FAMILY.CASE.npz; returns case -> (inputs, outputs)."""
    module = family.module(family.reference)
    exact, references = module.float(), {}
    for case, feed in family.cases().items():
        want = outputs_of(family, exact, feed)
        references[case] = feed, want
        np.savez_compressed(
            REFERENCES / f"{family.name}.{case}.npz",
            **{f"in.{n}": v for n, v in feed.items()},
            **{f"out.{n}": v for n, v in want.items()})
    return references


def make_group(families):
    """The models and references of the families of one group."""
    good, paths = True, []
    weights = files.Weights(MODELS / f"{families[0].group}.weights")
    for family in families:
        references = make_references(family)
        example = list(references.values())[family.example][0]
        for exporter, opset, attention in family.exports:
            name = f"{family.name}.{exporter}-{opset}-{attention}.onnx"
            try:
                model = export(family, example, exporter, opset, attention)
            except Exception as error:
                print(f"{name:44s} NO EXPORT {type(error).__name__}:"
                      f" {' '.join(str(error).split())[:300]}", flush=True)
                good = False
                continue
            files.strip(model)
            if family.dtype == torch.float32:
                weights.take(model)
            onnx.save(model, MODELS / name)
            paths.append((MODELS / name, references, BOUND[family.dtype]))
    weights.save()
    return all([check(*path) for path in paths]) and good
