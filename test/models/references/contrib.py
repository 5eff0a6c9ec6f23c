"""Models of one com.microsoft node each, and what ONNX Runtime's CPU kernels answer.

Where it has no such kernel, NumPy computes the formula of the operator's documentation.
All cases of an op go into one file, test/e2e/operators/OP.npz, with the entries
CASE/model (the bytes of the graph), CASE/in.NAME and CASE/out.NAME. An answer is NaN
where the op leaves it open.
"""
import zlib

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .family import REFERENCES

FOLDER = REFERENCES / "operators"
DOMAIN = "com.microsoft"


class Case:
    """Inputs are arrays, or None where the node has none. `dims` names the dims of an
    input, others are static; `constants` are inputs that the graph holds itself."""

    def __init__(self, op, name, inputs, outputs=("output",), attributes=None, dims=None,
                 constants=(), numpy=None, declared=None, opens=None, domain=DOMAIN,
                 opset=21):
        self.op, self.name, self.inputs, self.outputs = op, name, inputs, outputs
        self.attributes, self.dims = attributes or {}, dims or {}
        self.constants, self.numpy, self.declared = constants, numpy, declared or {}
        self.opens, self.domain, self.opset = opens, domain, opset

    def feeds(self):
        return {key: np.asarray(value) for key, value in self.inputs.items()
                if value is not None and key not in self.constants}

    def model(self):
        names = [key if value is not None else "" for key, value in self.inputs.items()]
        while names and not names[-1]:
            names.pop()
        node = helper.make_node(self.op, names, list(self.outputs), name=f"{self.op}_0",
                                domain=self.domain, **self.attributes)
        values = [helper.make_tensor_value_info(
            key, helper.np_dtype_to_tensor_dtype(value.dtype),
            self.dims.get(key, value.shape)) for key, value in self.feeds().items()]
        # Of the outputs the types do, but where their dims say something.
        float_type = next(v.dtype for v in self.inputs.values()
                          if v is not None and v.dtype.kind == "f")
        results = []
        for key in filter(None, self.outputs):
            kind, shape = self.declared.get(key, (float_type, None))
            results.append(helper.make_tensor_value_info(
                key, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), shape))
        graph = helper.make_graph(
            [node], self.op, values, results,
            [numpy_helper.from_array(np.asarray(self.inputs[key]), key)
             for key in self.constants if self.inputs[key] is not None])
        return helper.make_model(graph, ir_version=10, opset_imports=[
            helper.make_opsetid("", self.opset), helper.make_opsetid(DOMAIN, 1)])

    def answer(self):
        if self.numpy:
            found = self.numpy(**{k: v for k, v in self.inputs.items()})
            found = found if isinstance(found, tuple) else (found,)
            answers = dict(zip(filter(None, self.outputs), found))
        else:
            import onnxruntime as ort
            ort.set_default_logger_severity(3)
            session = ort.InferenceSession(self.model().SerializeToString(),
                                           providers=["CPUExecutionProvider"])
            names = [output.name for output in session.get_outputs()]
            answers = dict(zip(names, session.run(names, self.feeds())))
        if self.opens:
            answers = {k: v.copy() for k, v in answers.items()}
            self.opens(answers)
        return answers


def generator(name):
    return np.random.default_rng(zlib.crc32(name.encode()))


class Draw:
    """Random tensors; the name is the seed."""

    def __init__(self, name):
        self.rng = generator(name)

    def __call__(self, *shape, scale=1.0, dtype=np.float32):
        return (self.rng.standard_normal(shape) * scale).astype(dtype)


def make(only=""):
    from . import contrib_attention, contrib_basic, contrib_moe, contrib_quant, mixtures
    FOLDER.mkdir(exist_ok=True)
    by_op = {}
    for case in [*contrib_basic.cases(), *contrib_attention.cases(), *contrib_moe.cases(),
                 *contrib_quant.cases(), *mixtures.cases()]:
        by_op.setdefault(case.op, []).append(case)
    good = True
    for op, cases in by_op.items():
        if only not in op:
            continue
        entries = {}
        for case in cases:
            try:
                answers = case.answer()
            except Exception as error:  # of ONNX Runtime: to be told and gone on from
                print(f"{op} {case.name}: {str(error)[:300]}")
                good = False
                continue
            entries[f"{case.name}/model"] = np.frombuffer(
                case.model().SerializeToString(), np.uint8)
            for key, value in case.feeds().items():
                entries[f"{case.name}/in.{key}"] = value
            for key, value in answers.items():
                entries[f"{case.name}/out.{key}"] = value
        np.savez_compressed(FOLDER / f"{op}.npz", **entries)
        print(f"{op}: {len(cases)} cases")
    return good
