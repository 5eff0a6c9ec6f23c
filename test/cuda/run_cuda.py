#!/usr/bin/env python3
"""Runs models on a GPU, real or played, and compares them with PyTorch's answers.

    run_cuda.py FERRITE --fake LIBRARY [--arch sm_80,sm_90a] [--only SUBSTRING] [--jobs N]
    run_cuda.py FERRITE --device cuda:0

With --fake the kernels are compiled for the CPU (fake-nvcc) and LIBRARY, ferrite_fake_cuda,
is the driver: what is checked is everything but the GPU. Each architecture's kernels are run,
with the threads of a block in order and in reverse: a missing barrier shows as a difference.
Without it there must be a GPU, and a toolkit; where there is none the run says so and exits
with 77. Models, references and tolerances are those of ../e2e.
"""
import argparse
import os
import pathlib
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
import run_e2e  # noqa: E402
from models import CHECKED  # noqa: E402


class DeviceModel(run_e2e.Model):
    """Runs on a device; `environment` is set around each run."""

    def __init__(self, ferrite, artifact, scratch, device, environment, level):
        super().__init__(ferrite, artifact, scratch, 1, level)
        self.device, self.environment = device, environment

    def run(self, feed, threads=None, entry=None):
        inputs, outputs = self.scratch / "in.npz", self.scratch / "out.npz"
        outputs.unlink(missing_ok=True)
        run_e2e.np.savez(inputs, **feed)
        command = [self.ferrite, "run", self.artifact, "--inputs", inputs, "--outputs", outputs,
                   "--device", self.device, *(["--entry", entry] if entry else [])]
        run_e2e.execute("env", *[f"{k}={v}" for k, v in self.environment.items()], *command,
                        limit=300)
        with run_e2e.np.load(outputs) as answer:
            return {name: answer[name] for name in answer.files}


def check(args, name, folder, results):
    source = HERE.parent / "models" / f"{name}.onnx"
    family = name.split(".")[0]
    suffix = family.rsplit("-", 1)[-1]
    kind = suffix if suffix in run_e2e.TOLERANCE else "f32"
    files = sorted((HERE.parent / "e2e").glob(f"{family}.*.npz"))
    # Warpgroups multiply short floats alone.
    for arch in (args.arch or ("sm_80,sm_90a" if kind != "f32" else "sm_80")).split(","):
        scratch = folder / f"{name}.{arch}"
        scratch.mkdir()
        artifact = scratch / "model.so"
        tools = {"FERRITE_NVCC": HERE / "fake-nvcc", "FERRITE_CACHE": "off"} if args.fake else {}
        start = time.monotonic()
        try:
            run_e2e.execute("env", *[f"{k}={v}" for k, v in tools.items()], args.ferrite,
                            "compile", source, "-o", artifact, "--quiet", "--target=cuda",
                            f"--gpu={arch}", limit=300)
        except run_e2e.Failed as error:
            results.add(False, f"{name} {arch} compile", error)
            continue
        results.add(True, f"{name} {arch} compile", f"in {time.monotonic() - start:.1f} s")
        number = "".join(c for c in arch if c.isdigit())
        played = {"FERRITE_LIBCUDA": args.fake, "FERRITE_FAKE_SM": number} if args.fake else {}
        model = DeviceModel(args.ferrite, artifact, scratch, args.device, played, arch)
        run_e2e.check_references(name, model, files, run_e2e.TOLERANCE[kind], results,
                                 run_e2e.ENTRY_FLAGS.get(name))
        if args.fake:
            other = DeviceModel(args.ferrite, artifact, scratch, args.device,
                                {**played, "FERRITE_FAKE_ORDER": "reverse"}, arch)
            feed, _ = run_e2e.load_case(files[-1])
            if name in run_e2e.ENTRY_FLAGS:
                continue
            try:
                wrong = run_e2e.differences(other.run(feed), model.run(feed))
                results.add(not wrong, f"{name} {arch} bits: order of threads",
                            "differ: " + ", ".join(wrong) if wrong else "equal")
            except run_e2e.Failed as error:
                results.add(False, f"{name} {arch} bits: order of threads", error)


def check_both(args, name, folder, results):
    """One artifact with code for both: the CPU's runs where there is no driver."""
    scratch = folder / "both"
    scratch.mkdir()
    artifact = scratch / "model.so"
    source = HERE.parent / "models" / f"{name}.onnx"
    feed, wanted = run_e2e.load_case(sorted((HERE.parent / "e2e").glob(
        f"{name.split('.')[0]}.*.npz"))[0])
    try:
        run_e2e.execute("env", f"FERRITE_NVCC={HERE / 'fake-nvcc'}", "FERRITE_CACHE=off",
                        args.ferrite, "compile", source, "-o", artifact, "--quiet",
                        "--target=cpu+cuda", "--gpu=sm_80", limit=300)
        none = {"FERRITE_LIBCUDA": "no-such-library.so"}
        cpu = DeviceModel(args.ferrite, artifact, scratch, "cpu", none, None).run(feed)
        gpu = DeviceModel(args.ferrite, artifact, scratch, args.device,
                          {"FERRITE_LIBCUDA": args.fake, "FERRITE_FAKE_SM": "86"}, None).run(feed)
        worst = max(run_e2e.relative_error(found[output], want)
                    for found in (cpu, gpu) for output, want in wanted.items())
        results.add(worst <= run_e2e.TOLERANCE["f32"], f"{name} both", f"{worst:.1e}")
        for what, device, played in [
                ("there is no NVIDIA driver", args.device, none),
                ("no device cuda:7: there are 2", "cuda:7", {"FERRITE_LIBCUDA": args.fake}),
                ("compile it with --gpu=sm_100", args.device,
                 {"FERRITE_LIBCUDA": args.fake, "FERRITE_FAKE_SM": "100"})]:
            try:
                DeviceModel(args.ferrite, artifact, scratch, device, played, None).run(feed)
                results.add(False, f"{name} message", f"no error, expected '{what}'")
            except run_e2e.Failed as error:
                results.add(what in str(error), f"{name} message", what)
        # Text is for GPUs that have no cubin, and behind those that have one.
        run_e2e.execute("env", f"FERRITE_NVCC={HERE / 'fake-nvcc'}", "FERRITE_CACHE=off",
                        args.ferrite, "compile", source, "-o", artifact, "--quiet",
                        "--target=cuda", "--gpu=compute_80,sm_80", limit=300)
        for number in ("80", "100"):
            later = DeviceModel(args.ferrite, artifact, scratch, args.device,
                                {"FERRITE_LIBCUDA": args.fake, "FERRITE_FAKE_SM": number}, None).run(feed)
            wrong = run_e2e.differences(later, gpu)
            results.add(not wrong, f"{name} PTX on sm_{number}", "differ" if wrong else "equal")
    except run_e2e.Failed as error:
        results.add(False, f"{name} both", error)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ferrite", type=pathlib.Path)
    parser.add_argument("--fake", type=pathlib.Path)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--arch", default="", help="sm_80, and sm_90a for f16 and bf16")
    parser.add_argument("--only", default="")
    parser.add_argument("--all", action="store_true", help="every model, not those of models.py")
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    args.ferrite = args.ferrite.resolve()
    if args.fake:
        args.fake = args.fake.resolve()
    elif not pathlib.Path("/dev/nvidiactl").exists():
        print("SKIP: there is no NVIDIA GPU on this machine")
        return 77
    names = CHECKED
    if args.all:
        names = sorted(p.name.removesuffix(".onnx") for p in (HERE.parent / "models").glob("*.onnx")
                       if not p.name.startswith("minilm"))
    results = run_e2e.Results()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(args.jobs) as pool:
        for done in [pool.submit(check, args, name, pathlib.Path(folder), results)
                     for name in names if args.only in name]:
            done.result()
        if args.fake and not args.only:
            check_both(args, names[0], pathlib.Path(folder), results)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
