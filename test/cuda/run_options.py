#!/usr/bin/env python3
"""Compiles models with options that change their kernels, for the CPU and for a played GPU, and compares the two.

    run_options.py FERRITE --fake LIBRARY [--only SUBSTRING] [--jobs N]

run_cuda.py compares models as they are with PyTorch; here it is weights of few bits, rounded inputs, lists of
blocks and scores of bytes, whose results the tests of the CPU compare with references. Both kernels have the same
inputs, so they differ by the order of sums alone, and by what rounding makes of that.
"""
import argparse
import pathlib
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

from run_cuda import HERE, DeviceModel, run_e2e

LLAMA, BERT, HALF = "llama.dynamo-20-sdpa", "bert.torchscript-17-sdpa", "bert-f16.dynamo-20-sdpa"
# Inputs that are rounded to bytes: one that lies between two of them goes either way.
ROUNDED = 5e-3
# Model, options of compile, largest relative difference, part of a kernel's name that must be there.
CASES = [
    (LLAMA, "--quantize=w4g32", 1e-5, "packedFloats"),
    (LLAMA, "--quantize=w3g32-asym", 1e-5, "packedFloats"),
    (LLAMA, "--quantize=w4nf", 1e-5, "_codes"),
    (LLAMA, "--quantize=w8a8", ROUNDED, "MmaProduct"),
    (LLAMA, "--quantize=w4a8g32-asym", ROUNDED, "packedBytes"),
    (LLAMA, "--quantize=w4a4g16", 5e-2, "packedFloats"),
    (LLAMA, "--sparsify=bigbird:window=1,block=16", 1e-5, "KeptBlocks<16"),
    (BERT, "--sparsify=bigbird:window=1,global=1,block=16", 1e-5, "KeptBlocks<16"),
    (HALF, "--sparsify=bigbird:window=1,block=16", 2e-3, "KeptBlocks<16"),
    (BERT, "--quantize=qk8", 5e-2, "attentionTile"),
]


def check(args, index, folder, results):
    name, option, limit, part = CASES[index]
    scratch = folder / str(index)
    scratch.mkdir()
    artifact, text = scratch / "model.so", scratch / "model.cu"
    source = HERE.parent / "models" / f"{name}.onnx"
    tools = [f"FERRITE_NVCC={HERE / 'fake-nvcc'}", "FERRITE_CACHE=off"]
    try:
        run_e2e.execute("env", *tools, args.ferrite, "compile", source, "-o", artifact, "--quiet",
                        "--target=cpu+cuda", "--gpu=sm_80", "--cpu=native", option, limit=300)
        run_e2e.execute(args.ferrite, "compile", source, "-o", text, "--quiet", "--emit=cuda", "--gpu=sm_80", option,
                        limit=60)
        # Behind the macro and the skeletons: the first kernel begins with its op.
        kernels = text.read_text().split("\n// %", 1)[-1]
        results.add(part in kernels, f"{name} {option} kernels", part)
        files = sorted((HERE.parent / "e2e").glob(f"{name.split('.')[0]}.*.npz"))
        played = {"FERRITE_LIBCUDA": args.fake, "FERRITE_FAKE_SM": "80"}
        for file in (files[0], files[-1]):
            feed, _ = run_e2e.load_case(file)
            want = DeviceModel(args.ferrite, artifact, scratch, "cpu", {}, None).run(feed)
            got = DeviceModel(args.ferrite, artifact, scratch, "cuda:0", played, None).run(feed)
            worst = max(run_e2e.relative_error(got[output], want[output]) for output in want)
            results.add(worst <= limit, f"{name} {option} {file.stem}", f"{worst:.1e}")
    except run_e2e.Failed as error:
        results.add(False, f"{name} {option}", error)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ferrite", type=pathlib.Path)
    parser.add_argument("--fake", type=pathlib.Path, required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    args.ferrite, args.fake = args.ferrite.resolve(), args.fake.resolve()
    results = run_e2e.Results()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(args.jobs) as pool:
        for done in [pool.submit(check, args, index, pathlib.Path(folder), results)
                     for index, case in enumerate(CASES) if args.only in " ".join(case[:2])]:
            done.result()
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
