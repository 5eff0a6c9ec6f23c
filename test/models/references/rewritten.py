"""Graphs that other tools make of the exports: ONNX Runtime's optimizers, the fusions
of onnxscript, decoders in the manner of onnxruntime-genai and merged decoders.

They are compared with the references of the family that they come from; inputs that
they lack are left out there.
"""
import pathlib
import tempfile

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from . import decoders, feeds, files
from .family import BOUND, MODELS, REFERENCES, Family, check, export, outputs_of


def ort_optimizer(kind, **options):
    """onnxruntime.transformers.optimizer, as its users call it."""
    def rewrite(source):
        from onnxruntime.transformers import optimizer
        return optimizer.optimize_model(
            str(source), model_type=kind, num_heads=4, hidden_size=64, opt_level=0,
            only_onnxruntime=False, **options).model
    return rewrite


def ort_session(source):
    """What a session of ONNX Runtime saves at the extended level."""
    import onnxruntime as ort
    with tempfile.TemporaryDirectory() as scratch:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(pathlib.Path(scratch) / "model.onnx")
        ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def ort_fusions(source):
    """The rewrite rules of onnxscript for ONNX Runtime."""
    import onnx_ir as ir
    from onnxscript.rewriter.ort_fusions import optimize_for_ort
    model = ir.load(source)
    result = optimize_for_ort(model)
    model = result[0] if isinstance(result, tuple) else result
    return ir.to_proto(model)


# (result, group of the weights, source, rewriting).
REWRITTEN = [
    ("bert.ort-optimizer-17-eager", "bert", "bert.torchscript-17-eager", ort_optimizer("bert")),
    ("gpt2.ort-optimizer-17-sdpa", "gpt2", "gpt2.torchscript-17-sdpa", ort_optimizer("gpt2")),
    ("vit.ort-optimizer-17-sdpa", "vit", "vit.torchscript-17-sdpa", ort_optimizer("vit")),
    ("bart-both.ort-optimizer-17-sdpa", "bart", "bart-both.torchscript-17-sdpa",
     ort_optimizer("bart")),
    ("bert.ort-extended-20-sdpa", "bert", "bert.dynamo-20-sdpa", ort_session),
    ("llama-kv.ort-extended-20-sdpa", "llama", "llama-kv.dynamo-20-sdpa", ort_session),
    ("gpt2-kv.ort-extended-20-sdpa", "gpt2", "gpt2-kv.dynamo-20-sdpa", ort_session),
    ("bert.onnxscript-20-sdpa", "bert", "bert.dynamo-20-sdpa", ort_fusions),
    ("llama-kv.onnxscript-20-sdpa", "llama", "llama-kv.dynamo-20-sdpa", ort_fusions),
    ("qwen3-kv.onnxscript-20-sdpa", "qwen3", "qwen3-kv.dynamo-20-sdpa", ort_fusions),
    ("phi2-kv.onnxscript-20-sdpa", "phi2", "phi2-kv.dynamo-20-sdpa", ort_fusions),
    ("whisper-encoder.onnxscript-20-sdpa", "whisper", "whisper-encoder.dynamo-20-sdpa",
     ort_fusions),
    ("whisper-decoder-kv.onnxscript-20-sdpa", "whisper", "whisper-decoder-kv.dynamo-20-sdpa",
     ort_fusions),
]


# Cases that the rewriting itself breaks: EmbedLayerNormalization counts the mask, and
# Attention then takes that many keys from the left.
NOT_HELD = {"bert.ort-optimizer-17-eager": ["b4-s37-left"]}


def load_references(family):
    found = {}
    for path in sorted(REFERENCES.glob(f"{family}.*.npz")):
        with np.load(path) as file:
            parts = {kind: {n[len(kind) + 1:]: file[n] for n in file.files
                            if n.startswith(kind + ".")} for kind in ("in", "out")}
        found[path.name.split(".")[1]] = parts["in"], parts["out"]
    return found


def save(name, group, model, references):
    files.strip(model)
    weights = files.Weights(MODELS / f"{group}.weights", extend=True)
    weights.take(model)
    onnx.save(model, MODELS / f"{name}.onnx")
    weights.save()
    return check(MODELS / f"{name}.onnx", references, BOUND[torch.float32])


def make_rewritten(only):
    good = True
    for name, group, source, rewrite in REWRITTEN:
        if only not in name:
            continue
        try:
            with tempfile.TemporaryDirectory() as scratch:
                whole = pathlib.Path(scratch) / "whole.onnx"  # its tensors inside
                onnx.save(onnx.load(MODELS / f"{source}.onnx"), whole)
                model = rewrite(whole)
            known = {o.domain for o in model.opset_import}
            for domain in {n.domain for n in model.graph.node} - known - {""}:
                model.opset_import.append(helper.make_opsetid(domain, 1))
        except Exception as error:
            print(f"{name:44s} NOT MADE {type(error).__name__}: {str(error)[:200]}", flush=True)
            good = False
            continue
        references = load_references(source.split(".")[0])
        for case in NOT_HELD.get(name, ()):
            references.pop(case)
        good &= save(name, group, model, references)
    return good


# -- A decoder of GroupQueryAttention, in the manner of onnxruntime-genai ------------

GENAI_CASES = {  # new tokens, past, real columns of each row (past and new together)
    "b1-s8-p0": (8, 0, [8]), "b3-s5-p0-right": (5, 0, [5, 3, 1]),
    "b2-s1-p7": (1, 7, [8, 8]), "b1-s3-p6": (3, 6, [9]),
    "b3-s1-p9-ragged": (1, 9, [10, 6, 2])}


def genai_references(llama):
    """Each row's cache lies at the front: the next key follows the row's last one."""
    module = llama.module("eager").float()
    heads, size, references = 2, 16, {}
    pasts = [n for n in llama.inputs if n.startswith("past_")]
    for case, (new, past, lengths) in GENAI_CASES.items():
        rng = feeds.generator("llama-genai", case)
        batch = len(lengths)
        feed = {"input_ids": rng.integers(3, decoders.VOCAB, (batch, new), np.int64),
                "attention_mask": (np.arange(past + new)[None] <
                                   np.array(lengths)[:, None]).astype(np.int64)}
        for name in pasts:
            feed[name] = rng.standard_normal((batch, heads, past, size), np.float32)
        want = {n: np.full((batch, new, decoders.VOCAB) if n == "logits" else
                           (batch, heads, past + new, size), np.nan, np.float32)
                for n in llama.outputs}
        for row, length in enumerate(lengths):
            # Alone and without padding; of a prompt the first `length` tokens.
            tokens = min(new, length)
            before = length - tokens
            alone = {"input_ids": feed["input_ids"][row:row + 1, :tokens],
                     "attention_mask": np.ones((1, length), np.int64),
                     "position_ids": np.arange(before, length, dtype=np.int64)[None]}
            for name in pasts:
                alone[name] = feed[name][row:row + 1, :, :before]
            answer = outputs_of(llama, module, alone)
            want["logits"][row, :tokens] = answer["logits"][0]
            for name in llama.outputs[1:]:
                want[name][row, :, :length] = answer[name][0]
        references[case] = feed, want
        np.savez_compressed(REFERENCES / f"llama-genai.{case}.npz",
                            **{f"in.{n}": v for n, v in feed.items()},
                            **{f"out.{n}": v for n, v in want.items()})
    return references


def genai_graph(llama):
    weights = {n.removeprefix("model."): p.detach().numpy()
               for n, p in llama.module("eager").named_parameters()}
    nodes, tensors, counter = [], [], iter(range(10**6))

    def constant(name, value):
        tensors.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(op, inputs, outputs=1, domain="", **attributes):
        name = f"{op}_{next(counter)}"
        made = outputs if isinstance(outputs, list) else [f"{name}_out"]
        nodes.append(helper.make_node(op, inputs, made, name=name, domain=domain, **attributes))
        return made[0]

    def project(x, *names):
        key = names[0].replace(".weight", "") + (".packed" if len(names) > 1 else "")
        matrix = np.concatenate([weights[n] for n in names]).T
        return node("MatMul", [x, constant(key, matrix)])
    half = 8
    angles = np.outer(np.arange(64), 1e4 ** (-np.arange(half) / half)).astype(np.float32)
    constant("cos_cache", np.cos(angles)), constant("sin_cache", np.sin(angles))
    axes, one = constant("axes", np.array([1], np.int64)), constant("one", np.array([1], np.int64))
    total = node("ReduceSum", ["attention_mask", axes], keepdims=0)
    seqlens = node("Cast", [node("Sub", [total, one])], to=TensorProto.INT32)
    shape = node("Shape", ["attention_mask"])
    columns = node("Gather", [shape, constant("second", np.array(1, np.int64))])
    longest = node("Cast", [columns], to=TensorProto.INT32)
    hidden = node("Gather", [constant("embedding", weights["model.embed_tokens.weight"]),
                             "input_ids"])
    skip, norm = None, dict(epsilon=1e-6, stash_type=1)

    def normed(x, name):
        """The norm of hidden + x; SkipSimplifiedLayerNormalization but for the first."""
        weight = constant(name, weights[name])
        if x is None:
            return hidden, node("SimplifiedLayerNormalization", [hidden, weight], axis=-1, **norm)
        out = [f"{name}.normed", "", "", f"{name}.sum"]
        node("SkipSimplifiedLayerNormalization", [skip, x, weight], out,
             domain="com.microsoft", epsilon=1e-6)
        return out[3], out[0]
    x = None
    for i in range(2):
        at = f"model.layers.{i}."
        skip, y = normed(x, at + "input_layernorm.weight")
        qkv = project(y, *(f"{at}self_attn.{p}_proj.weight" for p in "qkv"))
        out = [f"attention.{i}", f"present.{i}.key", f"present.{i}.value"]
        node("GroupQueryAttention",
             [qkv, "", "", f"past_key_values.{i}.key", f"past_key_values.{i}.value", seqlens,
              longest, "cos_cache", "sin_cache", "", "", ""], out, domain="com.microsoft",
             num_heads=4, kv_num_heads=2, scale=0.25, softcap=0.0, do_rotary=1,
             rotary_interleaved=0, local_window_size=-1)
        skip, y = normed(project(out[0], at + "self_attn.o_proj.weight"),
                         at + "post_attention_layernorm.weight")
        gate = project(y, at + "mlp.gate_proj.weight")
        gate = node("Mul", [gate, node("Sigmoid", [gate])])
        up = node("Mul", [gate, project(y, at + "mlp.up_proj.weight")])
        x = project(up, at + "mlp.down_proj.weight")
    _, y = normed(x, "model.norm.weight")
    nodes.append(helper.make_node(
        "MatMul", [y, constant("lm_head", weights["lm_head.weight"].T)], ["logits"],
        name="lm_head"))
    info = helper.make_tensor_value_info
    cache = ["batch_size", 2, "past_sequence_length", 16]
    after = ["batch_size", 2, "total_sequence_length", 16]
    pasts = [n for n in llama.inputs if n.startswith("past_")]
    graph = helper.make_graph(
        nodes, "genai",
        [info("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"]),
         info("attention_mask", TensorProto.INT64, ["batch_size", "total_sequence_length"]),
         *(info(n, TensorProto.FLOAT, cache) for n in pasts)],
        [info("logits", TensorProto.FLOAT, ["batch_size", "sequence_length", decoders.VOCAB]),
         *(info(n, TensorProto.FLOAT, after) for n in llama.outputs[1:])], tensors)
    return helper.make_model(graph, ir_version=10, opset_imports=[
        helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)])


# -- A merged decoder: If(use_cache_branch) over two exports -------------------------

def renamed(graph, prefix, kept):
    """The nodes of a graph with names of their own for all but `kept`."""
    def name(old):
        return old if old in kept or not old else prefix + old
    for node in graph.node:
        node.name = prefix + node.name
        node.input[:] = [name(n) for n in node.input]
        node.output[:] = [name(n) for n in node.output]
    return graph.node


def merged_graph(first, then):
    """`first` has no past; shared initializers, of the same bytes, lie outside."""
    outside, known = [], {}
    branches = []
    for prefix, model in (("first.", first), ("then.", then)):
        graph, moved = model.graph, {}
        for tensor in graph.initializer:
            key = (tensor.data_type, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes())
            if key not in known:
                known[key] = copy = onnx.TensorProto()
                copy.CopyFrom(tensor)
                copy.name = f"shared.{len(outside)}.{tensor.name}"
                outside.append(copy)
            moved[tensor.name] = known[key].name
        for node in graph.node:
            node.input[:] = [moved.get(n, n) for n in node.input]
        kept = {i.name for i in then.graph.input} | {t.name for t in outside}
        nodes = renamed(graph, prefix, kept)
        outputs = [helper.make_tensor_value_info(
            prefix + o.name, o.type.tensor_type.elem_type, None) for o in graph.output]
        branches.append(helper.make_graph(nodes, prefix + "branch", [], outputs))
    node = helper.make_node(
        "If", ["use_cache_branch"], [o.name for o in then.graph.output], name="optimum::if",
        then_branch=branches[1], else_branch=branches[0])
    flag = helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1])
    graph = helper.make_graph([node], "merged", [*then.graph.input, flag], then.graph.output,
                              outside)
    return helper.make_model(graph, ir_version=then.ir_version, opset_imports=then.opset_import)


def make_merged(llama):
    """Of Llama, TorchScript as optimum makes it."""
    inputs = ["input_ids", "attention_mask", "position_ids"]
    axes = {**llama.axes, "attention_mask": ["batch", "sequence"]}
    start = Family("llama-first", "llama", llama.build, inputs, llama.outputs,
                   decoders.call_cached, None, [], axes, feeds.real_tokens)
    cases = llama.cases()
    whole = cases["b3-s5-p0-left"]
    first = export(start, {n: whole[n] for n in inputs}, "torchscript", 17, "sdpa")
    then = export(llama, cases["b3-s4-p9-right"], "torchscript", 17, "sdpa")
    references = {}
    for case, (feed, want) in load_references("llama-kv").items():
        use = feed["past_key_values.0.key"].shape[2] > 0
        references[case] = {**feed, "use_cache_branch": np.array([use])}, want
        np.savez_compressed(REFERENCES / f"llama-merged.{case}.npz",
                            **{f"in.{n}": v for n, v in references[case][0].items()},
                            **{f"out.{n}": v for n, v in want.items()})
    return save("llama-merged.optimum-17-sdpa", "llama", merged_graph(first, then), references)


def make(only=""):
    llama = {f.name: f for f in decoders.families(["llama"])}["llama-kv"]
    good = make_rewritten(only)
    if only in "llama-genai":
        good &= save("llama-genai.genai-21-gqa", "llama", genai_graph(llama),
                     genai_references(llama))
    if only in "llama-merged":
        good &= make_merged(llama)
    return good
