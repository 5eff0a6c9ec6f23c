#!/usr/bin/env python3
"""Runs sessions on a played GPU with tensors in its memory, through the C API.

    run_tensors.py FERRITE --fake LIBRARY

FERRITE is the program; the runtime library is taken from ../lib beside it. LIBRARY,
ferrite_fake_cuda, is the driver, whose memory the host cannot touch: a copy that goes the wrong
way is a fault. Checks, on a BERT, against the same session with all tensors on the host,

  in place   inputs and outputs in device memory, aligned or not, mixed with the host's, in the
             session's own memory and in the caller's; other addresses in the next run
  stream     the caller's stream is the session's; another one is awaited
  memory     device_allocate gives all that is not the model's, and has it back at the end
  ids        those on the device are looked at as those on the host are
  refused    locations that a session cannot have, half an allocator

Prints "N passed, N failed".
"""
import argparse
import ctypes
import os
import pathlib
import sys
import tempfile
from ctypes import CFUNCTYPE, c_size_t, c_uint64, c_void_p

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
import steps  # noqa: E402
from run_e2e import Failed, Results, execute, load_case  # noqa: E402

BERT = "bert.torchscript-17-sdpa"
HOST, DEVICE = 0, 1
KINDS = {np.dtype("f4"): steps.F32, np.dtype("i4"): steps.I32, np.dtype("i8"): steps.I64}
ALLOCATE = CFUNCTYPE(c_void_p, c_void_p, c_size_t, c_size_t)
DEALLOCATE = CFUNCTYPE(None, c_void_p, c_void_p, c_size_t, c_size_t)


class Driver:
    """The memory of the played GPU."""

    def __init__(self, library):
        self.api = ctypes.CDLL(str(library))

    def allocate(self, size):
        pointer = c_uint64()
        assert self.api.cuMemAlloc_v2(ctypes.byref(pointer), c_size_t(size)) == 0
        return pointer.value

    def put(self, array, shift=0):
        """The address of a copy, `shift` bytes behind one that is aligned."""
        pointer = self.allocate(array.nbytes + shift) + shift
        assert self.api.cuMemcpyHtoDAsync_v2(c_uint64(pointer), c_void_p(array.ctypes.data), c_size_t(array.nbytes),
                                             None) == 0
        return pointer

    def take(self, pointer, shape, dtype):
        array = np.empty(shape, dtype)
        assert self.api.cuMemcpyDtoHAsync_v2(c_void_p(array.ctypes.data), c_uint64(pointer), c_size_t(array.nbytes),
                                             None) == 0
        return array


class Session:
    def __init__(self, api, path, **options):
        self.api, self.error = api, steps.Error()
        self.model, self.session = c_void_p(), c_void_p()
        self.call("ferriteModelLoadFile", str(path).encode(), None, ctypes.byref(self.model))
        given = steps.SessionOptions(size=ctypes.sizeof(steps.SessionOptions), **options)
        self.call("ferriteSessionCreate", self.model, None, ctypes.byref(given), ctypes.byref(self.session))

    def call(self, name, *arguments):
        if getattr(self.api, name)(*arguments, ctypes.byref(self.error)):
            raise Failed(self.error.message.decode())

    def run(self, inputs, outputs):
        """`inputs` and `outputs` by name: (address, bytes, dtype, shape, location). Returns the outputs' tensors."""
        def tensors(named):
            made = (steps.Tensor * len(named))()
            for tensor, (name, (data, size, dtype, shape, location)) in zip(made, named.items()):
                tensor.data, tensor.bytes, tensor.name, tensor.dtype = data, size, name.encode(), dtype
                tensor.rank, tensor.location = len(shape), location
                tensor.shape[:len(shape)] = shape
            return made
        results = tensors(outputs)
        self.call("ferriteSessionRun", self.session, tensors(inputs), c_size_t(len(inputs)), results,
                  c_size_t(len(outputs)))
        return dict(zip(outputs, results))

    def close(self):
        self.api.ferriteSessionDestroy(self.session)
        self.api.ferriteModelRelease(self.model)


def on_host(array):
    return array.ctypes.data, array.nbytes, KINDS[array.dtype], array.shape, HOST


def on_device(driver, array, shift=0):
    return driver.put(array, shift), array.nbytes, KINDS[array.dtype], array.shape, DEVICE


def nowhere(location):
    """An output that the session is to own."""
    return None, 0, 0, (), location


def read(driver, tensor):
    shape, dtype = tuple(tensor.shape[:tensor.rank]), steps.DTYPES[tensor.dtype]
    if tensor.location == DEVICE:
        return driver.take(tensor.data, shape, dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(tensor.data), dtype).reshape(shape).copy()


def check_places(api, driver, artifact, feed, names, results):
    session = Session(api, artifact, device=b"cuda:0")
    host = {name: on_host(array) for name, array in feed.items()}
    want = {name: read(driver, tensor)
            for name, tensor in session.run(host, {name: nowhere(HOST) for name in names}).items()}

    def check(what, inputs, outputs):
        for turn in ("", " again"):
            got = session.run(inputs, outputs)
            same = all(np.array_equal(read(driver, tensor), want[name]) for name, tensor in got.items())
            results.add(same, f"bert {what}{turn}")
        return got

    def rooms(shift=0):
        return {name: on_device(driver, np.zeros_like(array), shift) for name, array in want.items()}

    def inputs(shift=0):
        return {name: on_device(driver, array, shift) for name, array in feed.items()}

    first = next(iter(feed))
    check("inputs on the device", inputs(), {name: nowhere(HOST) for name in names})
    check("one input on the device", {**host, first: inputs()[first]}, {name: nowhere(HOST) for name in names})
    check("inputs between two alignments", inputs(8), {name: nowhere(HOST) for name in names})
    check("all on the device", inputs(), rooms())
    check("elsewhere on the device", inputs(), rooms())
    check("outputs between two alignments", inputs(), rooms(4))
    own = check("outputs that the session owns", inputs(), {name: nowhere(DEVICE) for name in names})
    results.add(all(tensor.location == DEVICE for tensor in own.values()), "bert where they are is said")
    other, stream = c_void_p(), c_void_p(1)
    driver.api.cuStreamCreate(ctypes.byref(other), 0)
    session.call("ferriteSessionAwait", session.session, other)
    check("behind another stream", inputs(), rooms())

    def refused(what, word, *arguments):
        try:
            session.run(*arguments)
            results.add(False, f"bert refuses {what}", "it ran")
        except Failed as error:
            results.add(word in str(error), f"bert refuses {what}", error)

    tensor = on_host(feed[first])
    refused("a location that is none", "location 7", {**host, first: (*tensor[:4], 7)}, {})
    refused("an output there", "location -1", host, {names[0]: nowhere(-1)})
    large = feed["input_ids"].copy()
    large.flat[3] = 10 ** 6
    refused("ids of no word", "holds 1000000 at [0, 3]", {**inputs(), "input_ids": on_device(driver, large)}, {})
    place = inputs()[first]
    refused("an output over an input", "overlaps input", {**inputs(), first: place},
            {names[0]: (place[0], want[names[0]].nbytes, steps.F32, want[names[0]].shape, DEVICE)})
    mask = on_host(feed["attention_mask"])
    own = session.run(host, {names[0]: nowhere(DEVICE)})[names[0]]
    refused("an input in its own result", "memory that the session owns",
            {**host, "attention_mask": (own.data, *mask[1:4], DEVICE)}, {names[0]: nowhere(DEVICE)})
    api.ferriteSessionStream.restype = c_void_p
    results.add(bool(api.ferriteSessionStream(session.session)), "bert a stream of its own")
    session.close()
    cpu = Session(api, artifact)
    try:
        cpu.run(inputs(), {})
        results.add(False, "bert refuses a GPU's memory on the CPU", "it ran")
    except Failed as error:
        results.add("runs on the CPU" in str(error), "bert refuses a GPU's memory on the CPU", error)
    cpu.close()

    theirs = Session(api, artifact, device=b"cuda:0", stream=stream)
    got = theirs.run(inputs(), rooms())
    results.add(api.ferriteSessionStream(theirs.session) == stream.value and
                all(np.array_equal(read(driver, tensor), want[name]) for name, tensor in got.items()),
                "bert in the caller's stream")
    theirs.close()
    return want


def check_memory(api, driver, artifact, feed, want, results):
    held, most = {}, [0]

    @ALLOCATE
    def allocate(_, size, alignment):
        pointer = driver.allocate(size)
        held[pointer] = (size, alignment)
        most[0] = max(most[0], sum(size for size, _ in held.values()))
        return pointer

    @DEALLOCATE
    def deallocate(_, pointer, size, alignment):
        if held.pop(pointer) != (size, alignment):
            held["wrong"] = (size, alignment)
        driver.api.cuMemFree_v2(c_uint64(pointer))

    both = {"device_allocate": ctypes.cast(allocate, c_void_p), "device_deallocate": ctypes.cast(deallocate, c_void_p)}
    session = Session(api, artifact, device=b"cuda:0", **both)
    got = session.run({name: on_host(array) for name, array in feed.items()}, {name: nowhere(HOST) for name in want})
    same = all(np.array_equal(read(driver, tensor), want[name]) for name, tensor in got.items())
    least = sum(array.nbytes for array in [*feed.values(), *want.values()])
    results.add(same and sum(size for size, _ in held.values()) > least, "bert the caller's memory",
                f"{most[0]} bytes at most")
    session.close()
    results.add(not held, "bert gives all of it back", held)
    for what, word, options in (
            ("half an allocator", "device_allocate is set without", {"device_allocate": both["device_allocate"],
                                                                   "device": b"cuda:0"}),
            ("a stream of the CPU", "stream is set", {"stream": c_void_p(1)}),
            ("device memory of the CPU", "device_allocate is set", both)):
        try:
            Session(api, artifact, **options)
            results.add(False, f"bert refuses {what}", "it ran")
        except Failed as error:
            results.add(word in str(error), f"bert refuses {what}", error)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ferrite", type=pathlib.Path)
    parser.add_argument("--fake", type=pathlib.Path, required=True)
    args = parser.parse_args()
    ferrite, fake = args.ferrite.resolve(), args.fake.resolve()
    # The runtime opens it when the first session asks.
    os.environ.update(FERRITE_LIBCUDA=str(fake), FERRITE_FAKE_SM="80")
    api, driver = ctypes.CDLL(str(ferrite.parent.parent / "lib" / "libferrite_rt.so")), Driver(fake)
    results = Results()
    with tempfile.TemporaryDirectory(prefix="ferrite-tensors-") as folder:
        artifact = pathlib.Path(folder) / "model.so"
        execute("env", f"FERRITE_NVCC={HERE / 'fake-nvcc'}", "FERRITE_CACHE=off", ferrite, "compile",
                HERE.parent / "models" / f"{BERT}.onnx", "-o", artifact, "--quiet", "--target=cpu+cuda", "--gpu=sm_80",
                "--cpu=native", limit=300)
        feed, outputs = load_case(sorted((HERE.parent / "e2e").glob("bert.*.npz"))[0])
        want = check_places(api, driver, artifact, feed, list(outputs), results)
        check_memory(api, driver, artifact, feed, want, results)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
