"""Ferrite behind ONNX's interface for backends; needs the package `onnx`.

    import ferrite.backend as backend

    outputs = backend.run_model(onnx.load("model.onnx"), [x, y])   # a tuple
    prepared = backend.prepare(model, threads=2)                   # compile once
    outputs = prepared.run([x, y])                                 # run often

A model is compiled by the program `ferrite`, for this machine's CPU alone, to a file
that lives as long as what `prepare` returns.

Ferrite must know at compile time what decides about shapes: the `shape` of a Reshape,
the `axes` of a reduction, the `k` of a TopK. Where those are inputs of the model (in
tests of single ops they are), `prepare` does not compile yet: `run` does, with such
inputs bound to the values of that run, and keeps the artifact for runs with the same
values. `PreparedModel.bound` names them.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.backend.base
import onnx.helper

from . import _compile, _model
from ._errors import CompileError

__all__ = [
    "FerriteBackend",
    "PreparedModel",
    "is_compatible",
    "prepare",
    "run_model",
    "run_node",
    "supports_device",
]

# How the compiler asks for the value of an input.
_ASKED = re.compile(r"--bind '?([^\s'=]+)'?=")
# Artifacts that one prepared model keeps for different values of bound inputs.
_KEPT = 16


class PreparedModel(onnx.backend.base.BackendRep):
    """A compiled model, or one that is compiled once the values of `bound` are known."""

    def __init__(
        self,
        model: onnx.ModelProto,
        *,
        threads: int | None = None,
        timeout: float | None = None,
    ) -> None:
        self._threads, self._timeout = threads, timeout
        self._folder = tempfile.mkdtemp(prefix="ferrite-")
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._path = os.path.join(self._folder, "model.onnx")
        with open(self._path, "wb") as file:
            file.write(model.SerializeToString())
        initializers = {tensor.name for tensor in model.graph.initializer}
        self.inputs = [i.name for i in model.graph.input if i.name not in initializers]
        self.outputs = [o.name for o in model.graph.output]
        self.bound: list[str] = []
        self._models: dict[tuple[Any, ...], _model.Model] = {}
        try:
            self._models[()] = self._compile({})
        except CompileError as error:
            if not self._bind(error):
                raise

    def _bind(self, error: CompileError) -> bool:
        """Whether the compiler asked for inputs that are not bound yet."""
        asked = [
            name
            for name in dict.fromkeys(_ASKED.findall(str(error)))
            if name in self.inputs and name not in self.bound
        ]
        self.bound += asked
        return bool(asked)

    def _compile(self, values: Mapping[str, np.ndarray[Any, Any]]) -> _model.Model:
        output = os.path.join(self._folder, f"model-{len(self._models)}.so")
        _compile.compile(
            self._path,
            output,
            cpu="native",
            bind=values,
            threads=self._threads,
            timeout=self._timeout,
        )
        loaded = _model.load(output)
        os.remove(output)  # it is mapped: nobody needs its name
        return loaded

    def _model_for(self, given: Mapping[str, Any]) -> _model.Model:
        while True:
            values = {name: np.asarray(given[name]) for name in self.bound}
            key = tuple(
                (v.dtype.name, v.shape, np.ascontiguousarray(v).tobytes())
                for v in values.values()
            )
            found = self._models.get(key)
            if found is not None:
                return found
            try:
                found = self._compile(values)
            except CompileError as error:
                if self._bind(error):
                    continue
                raise
            if len(self._models) >= _KEPT:
                self._models.pop(next(iter(self._models)))
            self._models[key] = found
            return found

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs in the order of the graph. `inputs`: arrays in the order of the
        graph, without initializers; or by name."""
        _reject(kwargs)
        if isinstance(inputs, Mapping):
            given = dict(inputs)
        else:
            if not isinstance(inputs, (list, tuple)):
                inputs = [inputs]
            if len(inputs) > len(self.inputs):
                raise ValueError(
                    f"the model has {len(self.inputs)} inputs, but got {len(inputs)}"
                )
            given = dict(zip(self.inputs, inputs))
        missing = [name for name in self.bound if name not in given]
        if missing:
            raise ValueError(f"the input '{missing[0]}' is missing")
        model = self._model_for(given)
        for name in self.bound:
            del given[name]
        results = model.run(given, threads=self._threads)
        return onnx.backend.base.namedtupledict("Outputs", self.outputs)(
            *(results[name] for name in self.outputs)
        )


def _reject(kwargs: Mapping[str, Any]) -> None:
    # The suite passes its tolerances on to the backend.
    for name in kwargs:
        if name not in ("rtol", "atol"):
            raise TypeError(f"unknown option '{name}'")


class FerriteBackend(onnx.backend.base.Backend):
    """onnx.backend.base.Backend; the module has its methods as functions, too."""

    @classmethod
    def is_compatible(
        cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any
    ) -> bool:
        """True: whether a model can be compiled is told by `prepare`, with the reason."""
        return True

    @classmethod
    def prepare(
        cls,
        model: onnx.ModelProto,
        device: str = "CPU",
        *,
        threads: int | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> PreparedModel:
        """Compiles. `threads` compile and run; `timeout` is in seconds, of a compile.
        CompileError says why a model cannot be taken."""
        _reject(kwargs)
        if not cls.supports_device(device):
            raise ValueError(f"Ferrite runs on CPU, not on '{device}'")
        return PreparedModel(model, threads=threads, timeout=timeout)

    @classmethod
    def run_model(
        cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any
    ) -> tuple[Any, ...]:
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[Any, tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Runs one node of the newest opset, or of `opset_version`."""
        version = kwargs.pop("opset_version", onnx.defs.onnx_opset_version())
        names = [name for name in node.input if name]
        if isinstance(inputs, Mapping):
            arrays = {name: np.asarray(inputs[name]) for name in names}
        else:
            if not isinstance(inputs, (list, tuple)):
                inputs = [inputs]
            if len(inputs) != len(names):
                raise ValueError(
                    f"the node has {len(names)} inputs, but got {len(inputs)}"
                )
            arrays = {name: np.asarray(a) for name, a in zip(names, inputs)}
        graph = onnx.helper.make_graph(
            [node],
            "node",
            [
                onnx.helper.make_tensor_value_info(
                    name, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape
                )
                for name, a in arrays.items()
            ],
            [onnx.ValueInfoProto(name=name) for name in node.output if name],
        )
        model = onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", version)]
        )
        return cls.run_model(model, list(arrays.values()), device, **kwargs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return bool(
            onnx.backend.base.Device(device).type == onnx.backend.base.DeviceType.CPU
        )


is_compatible = FerriteBackend.is_compatible
prepare = FerriteBackend.prepare
run_model = FerriteBackend.run_model
run_node = FerriteBackend.run_node
supports_device = FerriteBackend.supports_device
