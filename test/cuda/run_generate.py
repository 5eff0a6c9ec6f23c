#!/usr/bin/env python3
"""Writes with decoders on a played GPU: `ferrite generate --device cuda:0` has the pages of its cache there.

    run_generate.py FERRITE --fake LIBRARY

The tokens must be those of the CPU, for several texts at once that share their beginning (pages copied on the
device), with guesses (tokens moved within pages) and with pages of bytes. Memory of the played device faults when
the host touches it.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PROMPT = ",".join(str(3 + i * 7 % 90) for i in range(70))  # more than a page
# Model, options of compile, options of generate.
CASES = [
    ("llama-kv.torchscript-17-sdpa", [], ["--samples", "3", "--temperature", "1", "--seed", "5"]),
    ("llama-kv.torchscript-17-sdpa", ["--kv=int8"], ["--lookup"]),
    ("mistral-kv.dynamo-20-sdpa", ["--kv=f16"], ["--beams", "2"]),
    ("gemma2-kv.dynamo-20-eager", [], []),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ferrite", type=pathlib.Path)
    parser.add_argument("--fake", type=pathlib.Path, required=True)
    args = parser.parse_args()
    ferrite, passed, failed = args.ferrite.resolve(), 0, 0

    def add(ok, text):
        nonlocal passed, failed
        passed, failed = passed + bool(ok), failed + (not ok)
        print(("PASS " if ok else "FAIL ") + text, flush=True)

    played = dict(os.environ, FERRITE_LIBCUDA=str(args.fake.resolve()), FERRITE_FAKE_SM="80",
                  FERRITE_FAKE_REPORT="1", FERRITE_NVCC=str(HERE / "fake-nvcc"), FERRITE_CACHE="off")

    def run(*words):
        done = subprocess.run([str(w) for w in words], env=played, text=True, capture_output=True, timeout=300)
        return done.returncode, done.stdout, done.stderr

    with tempfile.TemporaryDirectory() as folder:
        artifact = pathlib.Path(folder) / "model.so"
        for model, compiled, options in CASES:
            name = " ".join([model, *compiled, *options])
            code, _, err = run(ferrite, "compile", HERE.parent / "models" / f"{model}.onnx", "-o", artifact, "--quiet",
                               "--target=cpu+cuda", "--gpu=sm_80", "--cpu=native", *compiled)
            if code:
                add(False, f"{name}: {err.strip()}")
                continue
            texts, graphs = {}, 0
            for device in ("cpu", "cuda:0"):
                code, texts[device], err = run(ferrite, "generate", artifact, "--prompt-ids", PROMPT, "--max-tokens", 6,
                                               "--ignore-end", "--step-tokens", 48, "--device", device, *options)
                if code:
                    add(False, f"{name} on {device}: {err.strip()}")
                graphs = int(err.rsplit(" launches, ", 1)[-1].split()[0]) if " launches, " in err else 0
            add(texts["cpu"] and texts["cpu"] == texts["cuda:0"], f"{name}: {texts['cuda:0'].split()}")
            # The second step of one size and those behind it.
            add(graphs > 0, f"{name}: {graphs} graphs were launched")
        code, _, err = run(ferrite, "generate", artifact, "--prompt-ids", PROMPT, "--device", "cuda:9")
        add(code and "no device cuda:9" in err, f"message: {err.strip()}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
