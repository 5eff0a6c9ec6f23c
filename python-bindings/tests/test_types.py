"""The package is typed: mypy believes it, and its stub says what the module has."""

import pathlib
import subprocess
import sys

import ferrite

PROGRAM = """
import numpy as np
import ferrite

model: ferrite.Model = ferrite.load("m.so", level=None)
name: str = model.inputs[0].name
reveal_type(model.run({"x": np.zeros(3)}, threads=1))
reveal_type(ferrite.compile("m.onnx", "m.so", dims={"batch": 8}))
reveal_type(model.session().memory().arena)
model.run(threads="two")
ferrite.load(3)
model.levle
"""


def mypy(*arguments, module="mypy"):
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_package_is_typed(tmp_path):
    package = pathlib.Path(ferrite.__file__).parent
    assert (package / "py.typed").exists()
    done = mypy("--strict", "-p", "ferrite", f"--cache-dir={tmp_path}")
    assert done.returncode == 0, done.stdout


def test_what_users_see(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    said = mypy("--strict", f"--cache-dir={tmp_path}", program).stdout
    lines = [line for line in said.splitlines() if line.startswith(str(program))]
    assert sum('"dict[str, Any]"' in line for line in lines) == 2, said
    assert sum('"int"' in line and "note" in line for line in lines) == 1, said
    errors = [line.split(":")[1] for line in lines if "error:" in line]
    assert errors == ["10", "11", "12"], said


def test_the_stub_is_the_module():
    import ferrite._runtime as module

    stub = pathlib.Path(ferrite.__file__).with_name("_runtime.pyi").read_text()
    for owner in (module, module.Model, module.Session):
        for name in vars(owner):
            if not name.startswith("_"):
                assert f"def {name}(" in stub or f"class {name}:" in stub, name
    for name in ("version", "abi_version", "default_threads", "dtype_name"):
        assert callable(getattr(module, name))
