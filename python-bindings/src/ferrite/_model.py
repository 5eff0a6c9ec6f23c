"""Models and sessions: runtime.h, with NumPy and DLPack at the edge."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple, Union

import numpy as np

from . import _arrays, _runtime

_LOG_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING)


def _log(level: int, message: str) -> None:
    """Called by the extension with the runtime's log lines."""
    logging.getLogger("ferrite").log(_LOG_LEVELS[level], message)


class Symbol(NamedTuple):
    """A symbolic dimension, and the sizes that the model accepts."""

    name: str
    min: int
    max: int | None  # None: no limit


class Tensor(NamedTuple):
    """An input or output. A dimension is a size, the name of a symbol, or None:
    computed, see Session.output_shapes."""

    name: str
    element: str  # "f32", "i64", "bf16", ...
    dtype: np.dtype[Any]  # NumPy's for it; bf16: of ml_dtypes, uint16 without it
    shape: tuple[int | str | None, ...]
    id_limit: int | None  # elements must lie in [-id_limit, id_limit)


class Entry(NamedTuple):
    """One function of a model."""

    name: str
    symbols: tuple[Symbol, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class Shape(NamedTuple):
    """What an output would be: see Session.output_shapes."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class Memory(NamedTuple):
    """Bytes: see Session.memory."""

    arena: int  # intermediate results
    scratch: int  # of all threads together
    outputs: int
    weights: int  # mapped, shared by all sessions and processes


class LaunchProfile(NamedTuple):
    """The time of one launch in the last run: see Session.profile."""

    launch: str  # the ONNX nodes it computes
    kernel: str
    nanoseconds: int
    units: int  # of work, which threads share


def _tensor(raw: tuple[str, int, tuple[int | str | None, ...], int]) -> Tensor:
    name, dtype, shape, limit = raw
    return Tensor(
        name, _arrays.dtype_name(dtype), _arrays.numpy_dtype(dtype), shape, limit or None
    )


_NO_LIMIT = 2**63 - 1


class Model:
    """A compiled model, loaded: immutable, and shared by threads. Made by `load`."""

    def __init__(self, raw: _runtime.Model) -> None:
        self._raw = raw
        entries = raw.entries
        self.entries: tuple[Entry, ...] = tuple(
            Entry(
                name,
                tuple(Symbol(n, a, None if b == _NO_LIMIT else b) for n, a, b in symbols),
                tuple(map(_tensor, inputs)),
                tuple(map(_tensor, outputs)),
            )
            for name, symbols, inputs, outputs in entries
        )
        # Per entry: the element types of its inputs and outputs by name.
        self._dtypes = {
            name: ({t[0]: t[1] for t in inputs}, {t[0]: t[1] for t in outputs})
            for name, _, inputs, outputs in entries
        }
        self._idle: dict[tuple[str | None, int, str | None], list[Session]] = {}
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self._raw.name

    @property
    def compiler(self) -> str:
        """The version and build of the compiler that wrote the model."""
        return self._raw.compiler

    @property
    def level(self) -> str:
        """The level of CPU features that was taken: "avx512", "avx2", ..."""
        return self._raw.level

    @property
    def levels(self) -> dict[str, bool]:
        """All levels in the model, best first, and whether this machine has them."""
        return dict(self._raw.levels)

    @property
    def weights_bytes(self) -> int:
        return self._raw.weights_bytes

    @property
    def weights_path(self) -> str | None:
        """The file of the weights; None when they are in the artifact."""
        return self._raw.weights_path

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What the first entry takes."""
        return self.entries[0].inputs

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What the first entry gives."""
        return self.entries[0].outputs

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        """The symbolic dimensions of the first entry."""
        return self.entries[0].symbols

    def describe(self) -> dict[str, Any]:
        """The compiler's description: what fused and why not, the kernels, the memory
        plan. Its keys are in compiler.h. Empty when the model has none."""
        text = self._raw.description
        description: dict[str, Any] = json.loads(text) if text else {}
        return description

    def session(
        self,
        entry: str | None = None,
        *,
        threads: int | None = None,
        profile: bool = False,
        device: str | None = None,
        stream: int | None = None,
    ) -> Session:
        """A session of your own; see Session."""
        return Session(
            self, entry, threads=threads, profile=profile, device=device, stream=stream
        )

    def run(
        self,
        inputs: Mapping[str, Any] | None = None,
        /,
        *,
        entry: str | None = None,
        threads: int | None = None,
        device: str | None = None,
        out: Mapping[str, Any] | None = None,
        **named: Any,
    ) -> dict[str, Any]:
        """Runs the entry (the first one) on arrays by name and returns its outputs by
        name; see Session.run. Any number of threads may call it at once: each call
        takes an idle session of the model, or makes one. They are kept for the next
        calls; `trim` lets them go. `threads`: how many this run may use; None: as many
        as this process has CPUs. `device`: "cuda:0", ...; None: the CPU."""
        key = (entry, threads or 0, device)
        with self._lock:
            idle = self._idle.setdefault(key, [])
            session = idle.pop() if idle else None
        if session is None:
            session = self.session(entry, threads=threads, device=device)
        try:
            return session.run(inputs, out=out, **named)
        finally:
            with self._lock:
                self._idle.setdefault(key, []).append(session)

    def trim(self) -> None:
        """Frees the sessions that `run` keeps."""
        with self._lock:
            self._idle.clear()

    def __repr__(self) -> str:
        inputs = ", ".join(f"{t.name}: {t.element}{list(t.shape)}" for t in self.inputs)
        outputs = ", ".join(f"{t.name}: {t.element}{list(t.shape)}" for t in self.outputs)
        return f"<ferrite.Model {self.name} ({self.level}): {inputs} -> {outputs}>"


class Session:
    """Runs one entry of a model; one for each thread that does, for it serves one call
    at a time. It holds the memory of a run, which later runs use again.

    `device`: "cuda:N" runs the model's code for that GPU; None: the CPU. `stream`: the
    address of a CUstream of that GPU, say torch.cuda.Stream.cuda_stream, that outlives
    the session; None: one of its own."""

    def __init__(
        self,
        model: Model,
        entry: str | None = None,
        *,
        threads: int | None = None,
        profile: bool = False,
        device: str | None = None,
        stream: int | None = None,
    ) -> None:
        self._raw = _runtime.Session(
            model._raw, entry, threads or 0, profile, device or "", stream or 0
        )
        self.device = device or "cpu"
        self.model = model
        self.entry = next(e for e in model.entries if entry in (None, e.name))
        self._inputs, self._outputs = model._dtypes[self.entry.name]

    @property
    def threads(self) -> int:
        return self._raw.threads

    @property
    def stream(self) -> int:
        """The address of the CUstream of a session on a GPU; 0 on the CPU."""
        return self._raw.stream

    def run(
        self,
        inputs: Mapping[str, Any] | None = None,
        /,
        *,
        out: Mapping[str, Any] | None = None,
        **named: Any,
    ) -> dict[str, Any]:
        """Runs on all inputs, from `inputs` and by keyword, and returns all outputs.

        Arrays of NumPy and of every library that knows DLPack are read where they lie
        (a strided one is first made contiguous by its own library); what is no array
        becomes one of NumPy. A session on a GPU reads arrays there, of DLPack or with
        the CUDA array interface, where they lie too, once what made them is done, and
        writes to those of `out`; it has finished when this returns. Results are NumPy arrays that own new memory, which the
        model wrote them to, or the arrays of `out`: contiguous, writable, and of the
        output's exact type and shape. Python's lock is free during the run."""
        given = out or {}
        return _arrays.finished(
            self._raw.run(
                self._named(inputs, named),
                _arrays.named(given, self._outputs, self._raw.stream),
            ),
            given,
        )

    def output_shapes(
        self, inputs: Mapping[str, Any] | None = None, /, **named: Any
    ) -> dict[str, Shape]:
        """What `run` would return for inputs of these types and shapes."""
        return {
            name: Shape(_arrays.numpy_dtype(dtype), shape)
            for name, dtype, shape in self._raw.output_shapes(self._named(inputs, named))
        }

    def memory(self, inputs: Mapping[str, Any] | None = None, /, **named: Any) -> Memory:
        """The memory that a run with inputs of these shapes needs; without inputs, what
        the session holds now."""
        return Memory(*self._raw.memory(self._named(inputs, named)))

    def trim(self) -> None:
        """Gives the memory for intermediate results back; the next run allocates."""
        self._raw.trim()

    def cancel(self) -> None:
        """From another thread: asks the run in progress, or else the next one, to stop
        with Error of Status.CANCELLED."""
        self._raw.cancel()

    def clear_cancel(self) -> None:
        """Takes a request back that no run has used up."""
        self._raw.clear_cancel()

    def set_profiling(self, enabled: bool) -> None:
        self._raw.set_profiling(enabled)

    def profile(self) -> list[LaunchProfile]:
        """The launches of the last run, in order; it must have been profiled."""
        return [LaunchProfile(*row) for row in self._raw.profile()]

    def _named(
        self, inputs: Mapping[str, Any] | None, named: Mapping[str, Any]
    ) -> list[tuple[str, Any, int]]:
        stream = self._raw.stream
        both = _arrays.named(inputs or {}, self._inputs, stream)
        return both + _arrays.named(named, self._inputs, stream)


def load(
    source: Union[str, os.PathLike[str], bytes],
    level: str | None = None,
    *,
    weights: str | os.PathLike[str] | None = None,
    verify_weights: bool = False,
) -> Model:
    """Loads what `ferrite compile` wrote: the path of a shared artifact, or its bytes.

    `level`: a level of CPU features to use, e.g. "avx2"; None: the environment variable
    FERRITE_CPU, and without that the best that this machine has. `weights`: the file of
    the weights where the model has one; None: beside the artifact. `verify_weights`:
    hash that file."""
    path = os.fspath(weights) if weights is not None else None
    if isinstance(source, bytes):
        return Model(_runtime.Model.load_bytes(source, level, path, verify_weights))
    return Model(_runtime.Model.load(os.fspath(source), level, path, verify_weights))


def default_threads() -> int:
    """The threads of a session that is not told: this process's CPUs, at least 1."""
    return _runtime.default_threads()
