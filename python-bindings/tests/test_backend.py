"""ferrite.backend: ONNX's interface, with values bound at the first run."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
import ferrite  # noqa: E402
import ferrite.backend as backend  # noqa: E402


@pytest.fixture
def program(compiler, monkeypatch):
    monkeypatch.setenv("FERRITE_EXECUTABLE", str(compiler))


def test_a_node(program):
    node = onnx.helper.make_node("Add", ["a", "b"], ["c"])
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    (c,) = backend.run_node(node, [a, a])
    np.testing.assert_array_equal(c, a + a)


def test_a_shape_is_bound_to_its_value(program):
    node = onnx.helper.make_node("Reshape", ["x", "shape"], ["y"])
    inputs = [
        onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2, 3]),
        onnx.helper.make_tensor_value_info("shape", onnx.TensorProto.INT64, [2]),
    ]
    graph = onnx.helper.make_graph(
        [node],
        "g",
        inputs,
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )
    prepared = backend.prepare(model, threads=1)
    assert prepared.bound == ["shape"]
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    for shape in ([3, 2], [6, 1], [3, 2]):
        (y,) = prepared.run([x, np.array(shape)])
        np.testing.assert_array_equal(y, x.reshape(shape))
    with pytest.raises(ferrite.CompileError, match="no view of shape"):
        prepared.run([x, np.array([4, 2])])


def test_devices():
    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA")
