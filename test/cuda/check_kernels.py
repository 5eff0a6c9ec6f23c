#!/usr/bin/env python3
"""Compiles the kernels of models with NVIDIA's compiler and looks at what came out.

    check_kernels.py FERRITE [--only SUBSTRING] [--arch sm_80,sm_90a]

Of each architecture: every function compiles without a warning, without spilled registers and
without a stack, within the shared memory and threads of a block; and functions of f16 and bf16
products hold the instructions they are for: in SASS where cuobjdump is there, else in PTX. Needs no GPU. A
toolkit is looked for as the compiler looks for it, and as PyPI's nvidia-cuda-nvrtc beside this
Python; where there is none the check says so and exits with 77.
"""
import argparse
import importlib.util
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile

from models import COMPILED
from run_warpgroups import WIDE_MODELS, make_wide_model

HERE = pathlib.Path(__file__).resolve().parent
SHARED = {"sm_80": 163 << 10, "sm_86": 99 << 10, "sm_89": 99 << 10, "sm_90a": 227 << 10,
          "sm_100": 227 << 10}
# Pattern of a function's name -> instructions that it must have, in SASS and in PTX, of models
# that compute in 16 bits. Those of run_warpgroups.py have heads wide enough for warpgroups.
WANTED = {
    r"linear.*_(few|many)": {"HMMA": "mma.sync", "LDGSTS": "cp.async"},
    r"linear.*_wg\d+": {"HGMMA": "wgmma.mma_async", "UTMALDG": "cp.async.bulk.tensor",
                        "SYNCS.PHASECHK": "mbarrier.try_wait"},
    r"linear.*_wg(128|256)": {"USETMAXREG": "setmaxnreg"},
    r"attention": {"HMMA": "mma.sync", "LDGSTS": "cp.async"},
}
WIDE = {**WANTED, r"attention": {"HGMMA": "wgmma.mma_async", "USETMAXREG": "setmaxnreg", "LDGSTS": "cp.async",
                                 "ARRIVES.LDGSTSBAR": "cp.async.mbarrier.arrive"}}
# What may have a stack (NVRTC 13.0.88): sine and cosine keep the digits of 2/pi for large arguments
# there. One that no longer does fails, until it is taken from here.
STACK = {
    ("gemma2-kv.dynamo-20-eager", "sm_90a"): {"fused_7", "fused_5"},
    ("llama-kv.torchscript-17-sdpa", "sm_90a"): {"fused_5", "fused_3"},
    ("mixtral-kv.dynamo-20-sdpa", "sm_90a"): {"fused_5", "fused_3"},
    ("llama.dynamo-20-sdpa", "sm_90a"): {"fused_7", "fused_5", "fused_3", "fused_1"},
}


def environment():
    """CUDA_HOME as PyPI's package, where that is all there is."""
    found = dict(os.environ, FERRITE_CACHE="off")
    if "CUDA_HOME" not in found and not pathlib.Path("/usr/local/cuda").exists():
        spec = importlib.util.find_spec("nvidia")
        for folder in spec.submodule_search_locations if spec else []:
            if (pathlib.Path(folder) / "cu13").exists():
                found["CUDA_HOME"] = str(pathlib.Path(folder) / "cu13")
    return found


def disassemble(artifact, cuobjdump, folder):
    """Function -> SASS. The cubin is the ELF file for NVIDIA's machine within the artifact."""
    data = artifact.read_bytes()
    result = {}
    at = data.find(b"\x7fELF", 1)
    while at >= 0:
        if int.from_bytes(data[at + 18:at + 20], "little") == 190:  # EM_CUDA
            cubin = folder / "one.cubin"
            cubin.write_bytes(data[at:])
            text = subprocess.run([cuobjdump, "-sass", cubin], text=True, check=True,
                                  stdout=subprocess.PIPE).stdout
            for part in text.split("Function : ")[1:]:
                name, _, body = part.partition("\n")
                result[name.strip()] = body
        at = data.find(b"\x7fELF", at + 1)
    return result


def check(args, name, arch, folder, results):
    def add(ok, what, detail):
        results[bool(ok)] += 1
        print(f"{'PASS' if ok else 'FAIL'} {name} {arch} {what:12s} {detail}", flush=True)

    artifact = folder / "model.so"
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    before = used.ru_utime + used.ru_stime
    model, *options = name.split()
    source = HERE.parent / "models" / f"{model}.onnx"
    if model in WIDE_MODELS:
        source = folder / f"{model}.onnx"
        make_wide_model(source, *WIDE_MODELS[model])
    done = subprocess.run([args.ferrite, "compile", source, "-o", artifact, "--target=cuda", f"--gpu={arch}", "--json", *options],
                          env=environment(), text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    if done.returncode:
        if "there is none" in done.stderr:
            return done.stderr.strip()
        add(False, "compile", done.stderr.strip()[-400:])
        return None
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = used.ru_utime + used.ru_stime - before
    gpu = json.loads(done.stdout)["gpus"][0]
    functions = {f["name"]: f for f in gpu["functions"]}
    add(seconds <= 60, "compile", f"{len(functions)} functions in {seconds:.1f} s of a CPU, "
                                  f"{gpu['compiler']}")
    add(not gpu["warnings"], "warnings", "; ".join(gpu["warnings"][:3]) or "none")
    spilled = {f for f, row in functions.items() if row["spill_bytes"]}
    changed = {f for f, row in functions.items() if row["stack_bytes"]} ^ STACK.get((model, arch), set())
    add(not spilled, "spills", ", ".join(sorted(spilled)) or "none")
    add(not changed, "stack", ", ".join(sorted(changed)) if changed else f"at most {max(row['registers'] for row in functions.values())}, none spilled")
    listed = json.loads(subprocess.run([args.ferrite, "inspect", artifact, "--json"], text=True,
                                       stdout=subprocess.PIPE, check=True).stdout)
    rows = listed["cubins"][0]["functions"]
    wide = [row["name"] for row in rows if row["shared_bytes"] > SHARED[arch]
            or row["threads"] > 1024
            or functions[row["name"]]["registers"] * row["threads"] > 65536]
    add({row["name"] for row in rows} == set(functions), "inspect", f"{len(rows)} functions")
    add(not wide, "limits", "beyond: " + ", ".join(wide) if wide else "kept")
    if not name.split(".")[0].endswith(("-f16", "-bf16")):
        return None
    cuobjdump, nvcc = (shutil.which(tool) or shutil.which(f"/usr/local/cuda/bin/{tool}")
                       for tool in ("cuobjdump", "nvcc"))
    if cuobjdump:
        code = disassemble(artifact, cuobjdump, folder)
    elif nvcc:
        text = folder / "kernels.cu"
        subprocess.run([args.ferrite, "compile", source, "-o", text, "--target=cuda", f"--gpu={arch}",
                        "--emit=cuda", "--quiet", *options], check=True)
        subprocess.run([nvcc, "-ptx", f"-arch={arch}", "-std=c++17", "--fmad=false", "-o",
                        text.with_suffix(".ptx"), text], check=True)
        code = {part.split("(")[0].strip(): part
                for part in text.with_suffix(".ptx").read_text().split(".visible .entry ")[1:]}
    else:
        print(f"SKIP {name} {arch} instructions: there is neither cuobjdump nor nvcc", flush=True)
        return None
    for pattern, words in (WIDE if name.startswith("wide") and arch == "sm_90a" else WANTED).items():
        mine = [f for f in code if re.fullmatch(pattern + ".*", f)]
        if arch != "sm_90a" and "_wg" in pattern:
            add(not mine, "instructions", f"no function is for warpgroups: {len(mine)}")
            continue
        wanted = [sass if cuobjdump else ptx for sass, ptx in words.items()]
        lacking = [f"{f} has no {w}" for f in mine for w in wanted if w not in code[f]]
        add(not lacking and (mine or "_wg" in pattern), "instructions", "; ".join(lacking) or
            f"{' and '.join(wanted)} in {len(mine)} functions {pattern}")
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ferrite", type=pathlib.Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--arch", default="sm_80,sm_90a")
    parser.add_argument("--all", action="store_true", help="every model, not those of models.py")
    args = parser.parse_args()
    args.ferrite = args.ferrite.resolve()
    names = COMPILED
    if args.all:
        names = sorted(p.name.removesuffix(".onnx") for p in (HERE.parent / "models").glob("*.onnx")
                       if not p.name.startswith("minilm"))
    results = {True: 0, False: 0}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            for arch in args.arch.split(",") if args.only in name else []:
                why = check(args, name, arch, pathlib.Path(folder), results)
                if why:
                    print("SKIP:", why)
                    return 77
    print(f"{results[True]} passed, {results[False]} failed")
    return 1 if results[False] else 0


if __name__ == "__main__":
    sys.exit(main())
