"""NumPy's types for the runtime's, and arrays on their way in and out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _runtime

# FerriteDType of abi.h. NumPy has no types for those of `_ML`, the package ml_dtypes
# does, in which 4 and 2 bits are bytes as they are here.
_ML: dict[int, str] = {
    2: "bfloat16", 13: "float8_e4m3fn", 14: "float8_e4m3fnuz", 15: "float8_e5m2",
    16: "float8_e5m2fnuz", 17: "float8_e8m0fnu", 18: "float4_e2m1fn",
    19: "int4", 20: "uint4", 21: "int2", 22: "uint2",
}  # fmt: skip
_CUDA = 2  # DLDeviceType of dlpack.h
_ML_DTYPES = {name: dtype for dtype, name in _ML.items()}
_NUMPY: dict[int, str] = {
    0: "float32", 1: "float16", 3: "float64",
    4: "int8", 5: "int16", 6: "int32", 7: "int64",
    8: "uint8", 9: "uint16", 10: "uint32", 11: "uint64", 12: "bool",
}  # fmt: skip


def _bits(dtype: int) -> np.dtype[Any]:
    """NumPy's type of the size of one of `_ML`."""
    return np.dtype(np.uint16 if _ML[dtype] == "bfloat16" else np.uint8)


def numpy_dtype(dtype: int) -> np.dtype[Any]:
    """The type of a result: NumPy's, or of ml_dtypes, or integers of its bits."""
    if dtype not in _ML:
        return np.dtype(_NUMPY[dtype])
    try:
        import ml_dtypes
    except ImportError:
        return _bits(dtype)
    element: np.dtype[Any] = np.dtype(getattr(ml_dtypes, _ML[dtype]))
    return element


def named(
    values: Mapping[str, Any], dtypes: Mapping[str, int], stream: int = 0
) -> list[tuple[str, Any, int]]:
    """What the extension takes: arrays that know DLPack or the CUDA array interface as
    they are, others (lists, scalars) as NumPy makes arrays of them. `dtypes` are those
    of the model: unsigned integers stand for the bits of types that NumPy has not, where
    it wants those. `stream`: of a session on a GPU, which waits for what made an array
    that lies there."""
    result = []
    for name, value in values.items():
        if hasattr(value, "__dlpack__"):
            if stream and value.__dlpack_device__()[0] == _CUDA:
                value = value.__dlpack__(stream=stream)
        elif not hasattr(value, "__cuda_array_interface__"):
            value = np.asarray(value)
        dtype = -1
        if isinstance(value, np.ndarray):
            wanted = dtypes.get(name, -1)
            if value.dtype.name in _ML_DTYPES:
                dtype = _ML_DTYPES[value.dtype.name]
            elif wanted in _ML and value.dtype == _bits(wanted):
                dtype = wanted
            if dtype >= 0:
                # Types of ml_dtypes have neither DLPack nor the buffer protocol.
                value = value.view(_bits(dtype))
        result.append((name, value, dtype))
    return result


def finished(
    results: list[tuple[str, int, tuple[int, ...], Any]], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Results by name: the caller's own objects, and arrays over new memory."""
    outputs: dict[str, Any] = {}
    for name, dtype, shape, data in results:
        if data is None:
            outputs[name] = given[name]
        else:
            array: npt.NDArray[Any] = data.view(numpy_dtype(dtype)).reshape(shape)
            outputs[name] = array
    return outputs


def dtype_name(dtype: int) -> str:
    return _runtime.dtype_name(dtype)
