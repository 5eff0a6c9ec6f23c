"""NumPy's types for the runtime's, and arrays on their way in and out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _runtime

# FerriteDType of abi.h; bf16 is apart, for NumPy has none.
BF16 = 2
_NUMPY: dict[int, str] = {
    0: "float32", 1: "float16", 3: "float64",
    4: "int8", 5: "int16", 6: "int32", 7: "int64",
    8: "uint8", 9: "uint16", 10: "uint32", 11: "uint64", 12: "bool",
}  # fmt: skip


def numpy_dtype(dtype: int) -> np.dtype[Any]:
    """The type of a result: bf16 is that of ml_dtypes, uint16 without it."""
    if dtype != BF16:
        return np.dtype(_NUMPY[dtype])
    try:
        import ml_dtypes
    except ImportError:
        return np.dtype(np.uint16)
    bf16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return bf16


def named(
    values: Mapping[str, Any], dtypes: Mapping[str, int]
) -> list[tuple[str, Any, int]]:
    """What the extension takes: arrays that know DLPack as they are, others (lists,
    scalars) as NumPy makes arrays of them. `dtypes` are those of the model: 16-bit
    integers stand for bf16 where it wants that."""
    result = []
    for name, value in values.items():
        if not hasattr(value, "__dlpack__"):
            value = np.asarray(value)
        dtype = -1
        if isinstance(value, np.ndarray):
            kind = value.dtype.name
            if kind == "bfloat16" or (kind == "uint16" and dtypes.get(name) == BF16):
                # ml_dtypes' type has neither DLPack nor the buffer protocol.
                value, dtype = value.view(np.uint16), BF16
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
