"""Graphs of few bits that onnxruntime.quantization makes of the exports.

The answers are ONNX Runtime's on the graph itself, with all its optimizations off: they
would round elsewhere. Of QDQ graphs they are on: then its products are of integers, and
their sums exact, as ours are; sums of float32 round what lies between two steps (3e-9 of
a step from the middle, in "bert-qdq-channel-int8") to the other side, once, which moves a
hidden state by 1.6e-2. They are no float32 answers of PyTorch: what is compared is what
the graph says, its rounding included.
"""
import pathlib
import tempfile

import numpy as np
import onnx

from . import files
from .family import MODELS, REFERENCES

SOURCE = "bert.torchscript-17-sdpa"
# What is made of another graph.
SOURCES = {"bert-optimized-dynamic-int8": "bert.ort-optimizer-17-eager"}
FAMILY = "bert"
CASES = ("b1-s9", "b3-s16-right", "b4-s37-left")


def feeds():
    """Inputs of the references of the family."""
    for case in CASES:
        with np.load(REFERENCES / f"{FAMILY}.{case}.npz") as file:
            yield case, {n[3:]: file[n] for n in file.files if n.startswith("in.")}


class Reader:
    """Calibration data: the cases themselves."""

    def __init__(self):
        self.left = [feed for _, feed in feeds()]

    def get_next(self):
        return self.left.pop() if self.left else None


def mask_nodes(model):
    """Names of the nodes that make the mask, up to the softmax behind it: -3.4e38 has no
    int8 beside it."""
    made, names = {"attention_mask"}, []
    for node in model.graph.node:
        if node.op_type in ("MatMul", "Shape") or not made & set(node.input):
            continue
        names.append(node.name)
        if node.op_type != "Softmax":
            made.update(node.output)
    return names


def static(quant_format, **options):
    """int8 activations and weights, calibrated."""
    def make(source, target):
        from onnxruntime import quantization as q
        q.quantize_static(source, target, Reader(),
                          quant_format=getattr(q.QuantFormat, quant_format),
                          nodes_to_exclude=mask_nodes(onnx.load(source)),
                          weight_type=q.QuantType.QInt8, **options)
    return make


def dynamic(**options):
    def make(source, target):
        from onnxruntime import quantization as q
        kind = getattr(q.QuantType, options.pop("weight_type", "QInt8"))
        q.quantize_dynamic(source, target, weight_type=kind, **options)
    return make


def blocks(quant_format, symmetric, bits=4):
    """int4 weights with a scale for each 32; activations are not quantized."""
    def make(source, target):
        from onnxruntime import quantization as q
        from onnxruntime.quantization import matmul_nbits_quantizer as nbits
        config = nbits.DefaultWeightOnlyQuantConfig(
            block_size=32, is_symmetric=symmetric, bits=bits,
            quant_format=getattr(q.QuantFormat, quant_format))
        model = nbits.MatMulNBitsQuantizer(onnx.load(source), algo_config=config)
        model.process()
        model.model.save_model_to_file(target)
    return make


# Result -> how it is made. The suffix may name a row of TOLERANCE.
VARIANTS = {
    "bert-qdq-int8": static("QDQ"),
    "bert-qdq-channel-int8": static("QDQ", per_channel=True,
                                    extra_options={"ActivationSymmetric": True}),
    "bert-qoperator-int8": static("QOperator", per_channel=True),
    "bert-dynamic-int8": dynamic(),
    "bert-dynamic-u8-int8": dynamic(weight_type="QUInt8", per_channel=True),
    # QAttention and QEmbedLayerNormalization.
    "bert-optimized-dynamic-int8": dynamic(extra_options={"DefaultTensorType": 1}),
    "bert-nbits-int4": blocks("QOperator", True),
    "bert-nbits-zero-int4": blocks("QOperator", False),
    "bert-blocks-int4": blocks("QDQ", False),
    "bert-nbits-w8": blocks("QOperator", False, bits=8),
}


def answers(path):
    import onnxruntime as ort
    options = ort.SessionOptions()
    if "-qdq-" not in path.name:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    for case, feed in feeds():
        yield case, feed, dict(zip(names, session.run(names, feed)))


def make(only=""):
    for name, quantize in VARIANTS.items():
        if only not in name:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            whole, target = (pathlib.Path(scratch) / n for n in ("whole.onnx", "target.onnx"))
            model = onnx.load(MODELS / f"{SOURCES.get(name, SOURCE)}.onnx")
            onnx.save_model(model, whole)
            quantize(str(whole), str(target))
            model = onnx.load(target)
            files.strip(model)
            onnx.save_model(model, MODELS / f"{name}.onnx")
        for case, feed, wanted in answers(MODELS / f"{name}.onnx"):
            np.savez_compressed(REFERENCES / f"{name}.{case}.npz",
                                **{f"in.{n}": v for n, v in feed.items()},
                                **{f"out.{n}": v for n, v in wanted.items()})
        print(name, (MODELS / f"{name}.onnx").stat().st_size, "bytes", flush=True)
    return True
