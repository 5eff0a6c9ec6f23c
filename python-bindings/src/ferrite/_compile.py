"""`ferrite compile`, called as a program: no LLVM enters this process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any, Union

import numpy as np

from ._errors import CompileError

_Path = Union[str, "os.PathLike[str]"]
_Bounds = Union[int, tuple[int, int], str]


def find_executable() -> str:
    """The program `ferrite`: that of the environment variable FERRITE_EXECUTABLE, else
    the one beside this Python, else the first on PATH. FileNotFoundError without one."""
    named = os.environ.get("FERRITE_EXECUTABLE")
    if named:
        found = shutil.which(named)
        if found is None:
            raise FileNotFoundError(
                f"FERRITE_EXECUTABLE is '{named}', which is not a program"
            )
        return found
    beside = os.path.join(os.path.dirname(sys.executable), "ferrite")
    found = shutil.which(beside) or shutil.which("ferrite")
    if found is None:
        raise FileNotFoundError(
            "the program 'ferrite', which compiles models, is neither beside this Python"
            " nor on PATH: set FERRITE_EXECUTABLE to it"
        )
    return found


def _bounds(name: str, bounds: _Bounds) -> str:
    if isinstance(bounds, tuple):
        return f"{name}={bounds[0]}..{bounds[1]}"
    return f"{name}={bounds}"


def _bound(folder: str, index: int, value: Any) -> str:
    """A file with the value. NumPy's format knows not the types of ml_dtypes: those
    are written as bytes, of which the model knows the type."""
    array = np.asarray(value)
    if array.dtype.kind == "V" or array.dtype.name not in np.sctypeDict:
        array = array.view(np.dtype(f"u{array.dtype.itemsize}"))
    path = os.path.join(folder, f"{index}.npy")
    np.save(path, array, allow_pickle=False)
    return path


def _list(value: str | Iterable[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def compile(
    model: _Path,
    output: _Path,
    *,
    emit: str = "so",
    cpu: str | Iterable[str] = (),
    dims: Mapping[str, _Bounds] | None = None,
    bind: Mapping[str, Any] | None = None,
    weights: _Path | None = None,
    name: str | None = None,
    with_models: Mapping[str, _Path] | None = None,
    step_with: str | Iterable[str] = (),
    step_entries: Mapping[str, str] | None = None,
    quantize: str | None = None,
    calib: _Path | Mapping[str, Any] | None = None,
    accuracy_budget: str | None = None,
    kv: str | None = None,
    sparsify: str | None = None,
    require_fusion: str | Iterable[str] = (),
    require_sparsity: float | str | None = None,
    report: _Path | None = None,
    debug: bool = False,
    threads: int | None = None,
    timeout: float | None = None,
) -> dict[str, Any]:
    """Compiles the ONNX file `model` to the file `output` and returns the report, whose
    keys compiler.h lists. Options are those of `ferrite compile`:

    emit            "so", "static", "exe", "obj", "llvm" or "mlir"
    cpu             levels of CPU features, e.g. "avx2" or ["avx512", "avx2"]; "native",
                    the best of this machine; all
    dims            sizes of symbolic dimensions: {"sequence": (1, 512), "batch": 8}
    bind            inputs that become constants: {"use_cache_branch": True}
    weights         "embed", or a file beside `output`; embedded up to 1 GiB
    name            the model's name; that of `output`
    with_models     more models in the same artifact: {"draft": "small.onnx"}; their
                    entries are "draft" and "draft_step"
    step_with       what a decoder's step takes and gives besides tokens and logits:
                    "embeddings", "hidden:LAYER", "hidden:NODE", "lse:LAYER"
    step_entries    more steps, which leave layers out: {"early": "skip:4-7+9"}, or
                    where each run of a call may: {"exits": "choose:4-7+9"}
    quantize        weights of few bits: "w4g64,gptq"; passes/Quantization/README.md
    calib           what the method looks at: an .npz file, or batches of the model's
                    inputs by name
    accuracy_budget the most that `quantize` may change: "kld:0.02", "rel:0.05"
    kv              what a decoder's cache keeps: "f32", "f16", "bf16", "int8", "int4"
    sparsify        attention of fewer keys: "window:512"; passes/Sparsity/README.md
    require_fusion  e.g. "attention:all": fail when less of it fuses
    require_sparsity  e.g. 0.5 or "weights:0.5": fail when less of it is left out
    report          a file for the whole report, with each candidate of each fusion
    debug           line tables that lead perf and gdb to ONNX nodes
    threads         how many compile; this process's CPUs
    timeout         seconds, after which subprocess.TimeoutExpired is raised

    CompileError says what the compiler said. It leaves no output file."""
    command = [find_executable(), "compile", "--json", "--quiet", f"--emit={emit}"]
    if cpu:
        command.append("--cpu=" + ",".join(_list(cpu)))
    for dim, bounds in (dims or {}).items():
        command.append("--dim=" + _bounds(dim, bounds))
    command += [f"--require-fusion={gate}" for gate in _list(require_fusion)]
    for option, value in (
        ("quantize", quantize),
        ("accuracy-budget", accuracy_budget),
        ("kv", kv),
        ("sparsify", sparsify),
        ("require-sparsity", require_sparsity),
    ):
        if value is not None:
            command.append(f"--{option}={value}")
    for key, path in (with_models or {}).items():
        command.append(f"--with={key}:{os.fspath(path)}")
    command += [f"--step-with={part}" for part in _list(step_with)]
    for key, what in (step_entries or {}).items():
        command.append(f"--step-entry={key}:{what}")
    if weights is not None:
        command.append(f"--weights={os.fspath(weights)}")
    if name is not None:
        command.append(f"--name={name}")
    if report is not None:
        command.append(f"--report={os.fspath(report)}")
    if threads is not None:
        command.append(f"--threads={threads}")
    if debug:
        command.append("--debug")
    command.append(f"--output={os.fspath(output)}")

    with tempfile.TemporaryDirectory(prefix="ferrite-compile-") as folder:
        command += [
            f"--bind={name}={_bound(folder, i, value)}"
            for i, (name, value) in enumerate((bind or {}).items())
        ]
        if isinstance(calib, Mapping):
            batches: dict[str, Any] = {k: np.asarray(v) for k, v in calib.items()}
            np.savez(os.path.join(folder, "calib.npz"), **batches)
            command.append(f"--calib={folder}/calib.npz")
        elif calib is not None:
            command.append(f"--calib={os.fspath(calib)}")
        done = subprocess.run(
            [*command, "--", os.fspath(model)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
        )
    try:
        summary: dict[str, Any] = json.loads(done.stdout or "{}")
    except json.JSONDecodeError:
        summary = {}
    if done.returncode != 0:
        said = done.stderr.strip() or f"{command[0]} ended with {done.returncode}"
        raise CompileError(said, done.returncode, summary or None)
    return summary
