"""How a malformed model is written down: what each file of cases imports.

A case is a function that makes the bytes of a model, with the exit code and the
message that Ferrite owes its author:

    @case(1, "node 'n' .Relu.: reads 'b', which nothing defines")
    def undefined_value(): return model([node("Relu", "b", "y")])

Codes: 1, the model is wrong; 2, Ferrite has a limitation; (1, 2) where whether we look
at what is wrong depends on whether we have the op at all. The message is a regular
expression. A case that needs files beside the model takes the folder it is put in.
Everything is made from these few lines and fixed seeds: nothing is committed.
"""
import inspect

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper, numpy_helper

CASES = {}


def add(name, code, message, make):
    assert name not in CASES and code in (1, 2, (1, 2)), name
    CASES[name] = (code, message, make)


def case(code, message):
    def decorate(make):
        add(make.__name__.strip("_").replace("_", "-"), code, message, make)
        return make

    return decorate


def build(name, folder):
    """The bytes of a case's model, its files laid out in `folder`."""
    make = CASES[name][2]
    made = make(folder) if "folder" in inspect.signature(make).parameters else make()
    return made if isinstance(made, (bytes, type(None))) else made.SerializeToString()


# -- Models of a line -------------------------------------------------------------

def value(name, shape, dtype=T.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


X = value("x", ["N", 4])
Y = onnx.ValueInfoProto(name="y")  # of whatever type it turns out to be


def node(op, inputs, outputs, name="n", domain="", **attributes):
    """A node; its inputs and outputs as words."""
    return helper.make_node(op, inputs.split(), outputs.split(), name, domain=domain, **attributes)


def graph(nodes, inputs=(X,), outputs=(Y,), weights=(), name="g"):
    return helper.make_graph(nodes, name, list(inputs), list(outputs), list(weights))


def model(nodes, inputs=(X,), outputs=(Y,), weights=(), opset=20, ir=10, functions=(), domains=()):
    imports = [("", opset)] if opset is not None else []
    imports = [helper.make_opsetid(*each) for each in [*imports, *domains]]
    made = helper.make_model(graph(nodes, inputs, outputs, weights), opset_imports=imports,
                             functions=list(functions), ir_version=ir)
    if not imports:
        del made.opset_import[:]
    return made


def tensor(name, array, dtype=None):
    return numpy_helper.from_array(np.asarray(array, dtype), name)


def ints(name, *numbers):
    return tensor(name, numbers, np.int64)


def scalar(name, number):
    return tensor(name, number, np.int64)


def raw(name, dims, dtype=T.FLOAT, data=b"", **fields):
    """A tensor as it is said to be, whether or not that is true."""
    return T(name=name, dims=dims, data_type=dtype, raw_data=data, **fields)


# -- Messages by hand --------------------------------------------------------------

def varint(number):
    number &= 2**64 - 1
    out = b""
    while number >= 128:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def tag(number, wire):
    return varint(number << 3 | wire)


def field(number, body):
    """A length-delimited field, or a number."""
    if isinstance(body, int):
        return tag(number, 0) + varint(body)
    return tag(number, 2) + varint(len(body)) + body


IR, GRAPH, OPSET, FUNCTION = 1, 7, 8, 25  # fields of ModelProto
NODE, GRAPH_NAME, WEIGHT, INPUT, OUTPUT = 1, 2, 5, 11, 12  # of GraphProto


def wire_model(graph_bytes):
    return field(IR, 10) + field(OPSET, field(1, b"") + field(2, 20)) + field(GRAPH, graph_bytes)


def small():
    """A valid model of all common kinds of fields, to be spoilt."""
    return model([node("MatMul", "x w", "a", "mm"), node("Softmax", "a", "b", "sm", axis=-1),
                  node("Reshape", "b s", "y", "rs")], weights=[
                      tensor("w", np.eye(4, dtype=np.float32)), ints("s", -1, 2, 2)])
