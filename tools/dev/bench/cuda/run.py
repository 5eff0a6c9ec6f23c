#!/usr/bin/env python3
"""Builds a program of this folder with nvcc and runs it: run.py [products]

It says "SKIP" and exits with 77 where there is no nvcc or no GPU. --build-only compiles.
"""
import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
LIBRARIES = {"products": ["-lcublasLt"], "attention": []}
SKELETONS = HERE.parents[3] / "passes" / "Codegen" / "CUDA" / "Skeletons"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", nargs="?", default="products")
    parser.add_argument("--arch", default="sm_90a")
    parser.add_argument("--build-only", action="store_true")
    args = parser.parse_args()
    nvcc = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    if not nvcc:
        print("SKIP: there is no nvcc on this machine")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "ferrite").symlink_to(SKELETONS)  # headers are "ferrite/..."
        number = args.arch.removeprefix("sm_")
        subprocess.run([nvcc, "-O3", "-std=c++17", "--fmad=false",
                        f"-gencode=arch=compute_{number},code={args.arch}", f"-I{folder}",
                        *(["-DFERRITE_BENCH_WARPGROUPS"] if args.arch == "sm_90a" else []), "-o",
                        folder / "program", HERE / f"{args.program}.cu", *LIBRARIES[args.program],
                        f"-L{pathlib.Path(nvcc).resolve().parents[1] / 'lib64' / 'stubs'}", "-lcuda"],
                       check=True)
        return 0 if args.build_only else subprocess.run([folder / "program"]).returncode


if __name__ == "__main__":
    sys.exit(main())
