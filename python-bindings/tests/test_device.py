"""Sessions on a GPU, which the CPU plays: arrays that lie there, and streams."""

import ctypes
import os
import pathlib
import subprocess

import numpy as np
import pytest

import ferrite

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Driver:
    """The memory of the played GPU, which the host cannot touch."""

    def __init__(self, library):
        self.api = ctypes.CDLL(str(library))
        self.streams = []

    def put(self, array):
        pointer = ctypes.c_uint64()
        size = ctypes.c_size_t(array.nbytes)
        assert self.api.cuMemAlloc_v2(ctypes.byref(pointer), size) == 0
        data = ctypes.c_void_p(array.ctypes.data)
        assert self.api.cuMemcpyHtoDAsync_v2(pointer, data, size, None) == 0
        return pointer.value

    def take(self, pointer, like):
        array = np.empty_like(like)
        data = ctypes.c_void_p(array.ctypes.data)
        size = ctypes.c_size_t(array.nbytes)
        assert self.api.cuMemcpyDtoHAsync_v2(data, ctypes.c_uint64(pointer), size, None) == 0
        return array


class Interface:
    """An array that has the CUDA array interface alone."""

    def __init__(self, driver, array, stream=None, **fields):
        self.like, self.driver, self.pointer = array, driver, driver.put(array)
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (self.pointer, False),
            "version": 3,
            "stream": stream,
            **fields,
        }

    def numpy(self):
        return self.driver.take(self.pointer, self.like)


class ManagedTensor(ctypes.Structure):
    """DLManagedTensor of dlpack.h."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", ctypes.c_int32 * 2),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("manager", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    ]


class Exchanged(Interface):
    """An array that has DLPack."""

    def __init__(self, driver, array, ordinal=0):
        super().__init__(driver, array)
        self.ordinal, self.streams = ordinal, []

    def __dlpack_device__(self):
        return 2, self.ordinal

    def __dlpack__(self, stream=None, **ignored):
        self.streams.append(stream)
        self.shape = (ctypes.c_int64 * self.like.ndim)(*self.like.shape)
        self.managed = ManagedTensor(
            data=self.pointer,
            device=(2, self.ordinal),
            ndim=self.like.ndim,
            code={"i": 0, "u": 1, "f": 2}[self.like.dtype.kind],
            bits=8 * self.like.itemsize,
            lanes=1,
            shape=self.shape,
        )
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return new(ctypes.addressof(self.managed), b"dltensor", None)


@pytest.fixture(scope="module")
def driver(compiler):
    library = compiler.parents[1] / "test" / "cuda" / "ferrite_fake_cuda.so"
    if not library.exists():
        pytest.skip(f"no played GPU: {library} does not exist")
    # The runtime opens it when the first session asks for a GPU.
    os.environ.update(FERRITE_LIBCUDA=str(library), FERRITE_FAKE_SM="80")
    return Driver(library)


@pytest.fixture(scope="module")
def bert(compiler, driver, tmp_path_factory):
    path = tmp_path_factory.mktemp("bert") / "bert.so"
    environment = {**os.environ, "FERRITE_NVCC": str(ROOT / "test" / "cuda" / "fake-nvcc"), "FERRITE_CACHE": "off"}
    subprocess.run(
        [compiler, "compile", ROOT / "test" / "models" / "bert.torchscript-17-sdpa.onnx", "-o", path, "--quiet",
         "--target=cpu+cuda", "--gpu=sm_80", "--cpu=native"],
        check=True, env=environment,
    )  # fmt: skip
    return ferrite.load(path)


@pytest.fixture(scope="module")
def feed(bert):
    rng = np.random.default_rng(3)
    return {
        tensor.name: rng.integers(0, tensor.id_limit or 2, (2, 24)).astype(tensor.dtype)
        for tensor in bert.inputs
    }


@pytest.fixture(scope="module")
def want(bert, feed):
    """What the session gives with all arrays on the host."""
    return bert.run(feed, device="cuda:0")


def test_a_gpu_and_the_cpu_agree(bert, feed, want):
    for name, array in bert.run(feed).items():
        np.testing.assert_allclose(want[name], array, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [Interface, Exchanged])
def test_arrays_on_the_gpu(bert, driver, feed, want, kind):
    session = bert.session(device="cuda:0")
    arrays = {name: kind(driver, array) for name, array in feed.items()}
    for name, array in session.run(arrays).items():
        np.testing.assert_array_equal(array, want[name])
    out = {name: kind(driver, np.zeros_like(array)) for name, array in want.items()}
    for name, array in session.run(arrays, out=out).items():
        assert array is out[name]
        np.testing.assert_array_equal(array.numpy(), want[name])
    if kind is Exchanged:  # whoever made the array has it ready for our stream
        assert {s for a in arrays.values() for s in a.streams} == {session.stream}


def test_streams(bert, driver, feed, want):
    session = bert.session(device="cuda:0", stream=1)
    assert session.stream == 1 and session.device == "cuda:0"
    arrays = {name: Interface(driver, array, stream=2) for name, array in feed.items()}
    for name, array in session.run(arrays).items():
        np.testing.assert_array_equal(array, want[name])
    assert bert.session().stream == 0


def test_refusals(bert, driver, feed):
    session = bert.session(device="cuda:0")
    name = next(iter(feed))
    with pytest.raises(TypeError, match="cuda:0"):
        session.run({**feed, name: Exchanged(driver, feed[name], ordinal=1)})
    strides = {"strides": feed[name].strides[::-1]}
    with pytest.raises(TypeError, match="contiguous"):
        session.run({**feed, name: Interface(driver, feed[name], **strides)})
    with pytest.raises(TypeError, match="memory of the CPU"):
        bert.run({**feed, name: Exchanged(driver, feed[name])})
    with pytest.raises(TypeError, match="no array"):
        bert.run({**feed, name: Interface(driver, feed[name])})
    large = np.full_like(feed["input_ids"], 10**6)
    with pytest.raises(ferrite.Error, match="holds 1000000"):
        session.run({**feed, "input_ids": Exchanged(driver, large)})
    with pytest.raises(ferrite.Error, match="not one of a GPU"):
        bert.session(stream=1)
    with pytest.raises(ferrite.Error, match="there are 2"):
        bert.session(device="cuda:5")
