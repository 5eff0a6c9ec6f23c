"""Accuracy of what `ferrite compile --quantize` makes.

    python run_quantized.py FERRITE                      # small random models of test/models: seconds
    python run_quantized.py FERRITE --tinycode DIR       # the bars on a trained model: minutes
    python run_quantized.py FERRITE --minilm DIR --tokenizer FILE   # cosine of sentence embeddings

DIR of tinycode holds target/model.onnx, calibration.npy and valid.npy: perplexity of the first 24 windows of 512 tokens,
against float code in the same run, after calibration on 32 windows. A bar that is missed is a failure.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
MODELS = HERE.parent / "models"
passed = failed = 0


def check(ok, text):
    global passed, failed
    passed, failed = passed + bool(ok), failed + (not ok)
    print(("ok   " if ok else "FAIL ") + text, flush=True)


class Bench:
    def __init__(self, ferrite, model, folder):
        self.ferrite, self.model, self.folder = ferrite, model, pathlib.Path(folder)

    def run(self, *words):
        done = subprocess.run([self.ferrite, *map(str, words)], capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    def compile(self, name, *options):
        artifact = self.folder / f"{name}.so"
        code, _, err = self.run("compile", self.model, "-o", artifact, "--cpu=native", "--quiet", *options)
        left = [p.name for p in self.folder.iterdir() if p.name.startswith(".")]
        check(not left, f"{name}: no file is left behind {left}")
        if code:
            sys.exit(err)
        return artifact

    def metric(self, name, data, *options):
        artifact = self.compile(name, *options)
        code, out, err = self.run("verify", self.model, artifact, "--metric=kld", "--data", data, "--json")
        if code:
            print(err)
            return None
        return json.loads(out)["metric"]


def small(ferrite, folder):
    """Random weights predict nothing, but how far predictions move is known all the same."""
    random = np.random.default_rng(1)
    bench = Bench(ferrite, MODELS / SMALL, folder)
    ids = random.integers(0, 100, (16, 32))
    data = pathlib.Path(folder) / "data.npz"
    np.savez(data, **inputs_of(ids))
    klds = {}
    for spec in ("w8", "w8a8", "w4g32", "w4g32-asym", "w4a8g32", "w3g32", "w4a4g16"):
        found = bench.metric(spec, data, f"--quantize={spec}")
        klds[spec] = found["kld"] if found else float("nan")
    check(klds["w8"] < klds["w4g32"] < klds["w3g32"], f"fewer bits, more divergence: {klds}")
    check(klds["w4g32"] <= klds["w4a8g32"] * 1.5 and klds["w4a8g32"] < klds["w4a4g16"] * 4, "rounded inputs cost more")
    for method, spec in (("gptq", "w3g32"), ("awq", "w3g32"), ("rotate", "w3g32")):
        found = bench.metric(method, data, f"--quantize={spec}", f"--quantize-method={method}", f"--calib={data}")
        check(found and found["kld"] < 1.1 * klds[spec], f"{method}: {found and found['kld']} against {klds[spec]}")
    found = bench.metric("measured", data, "--quantize=w8a8", f"--calib={data}")
    check(found and found["kld"] == klds["w8a8"], f"w8a8 has a scale for each token, with data too: {found and found['kld']}")
    for spec in ("w8a8", "w8a8-static"):
        found = bench.metric("smooth" + spec, data, f"--quantize={spec},smoothquant", f"--calib={data}")
        check(found and found["kld"] < 4 * klds["w8a8"] + 1e-6, f"smoothquant {spec}: {found and found['kld']}")
    limit = (klds["w3g32"] + klds["w8"]) / 2
    report = pathlib.Path(folder) / "report.json"
    found = bench.metric("budget", data, "--quantize=w3g32", f"--accuracy-budget=kld:{limit}", f"--calib={data}",
                         f"--report={report}")
    layers = json.loads(report.read_text())["layers"] if report.exists() else []
    formats = {layer["format"] for layer in layers}
    check(found and found["kld"] <= 1.05 * limit, f"a budget of {limit:.6f} holds: {found and found['kld']}")
    check("w3g32" in formats and len(formats) > 1 and all(("reason" in layer) == (layer["format"] != "w3g32")
                                                          for layer in layers), f"layers have formats {formats}")
    for method in ("awq", "smoothquant", "rotate"):
        # What a method changed beside the weights holds for those that a budget makes wider, too.
        options = ("--quantize=w3a8g32", f"--quantize-method={method}", f"--calib={data}", f"--report={report}")
        alone = bench.metric(method + "0", data, *options)["kld"]
        found = bench.metric(method + "1", data, *options, f"--accuracy-budget=kld:{alone / 3}")
        formats = {layer["format"] for layer in json.loads(report.read_text())["layers"]}
        check(found and found["kld"] <= 1.05 * alone / 3 and len(formats) > 1,
              f"{method} with a budget of {alone / 3:.6f}: {found and found['kld']}, {formats}")
        found = bench.metric(method + "2", data, *options, "--accuracy-budget=rel:1e-9")
        formats = {layer["format"] for layer in json.loads(report.read_text())["layers"]}
        check(found and found["kld"] < 1e-3 * alone and formats == {"wide"},
              f"{method} with all layers wide: {found and found['kld']}, {formats}")
    # Tables as bytes: rows of them, and no more than they cost.
    wide = bench.compile("wide", "--quantize=w8", f"--report={report}").stat().st_size
    found = bench.metric("tables", data, "--quantize=w8,tables=w8", f"--report={report}")
    table = [layer for layer in json.loads(report.read_text())["layers"] if "embed" in layer["weight"]]
    size = (bench.folder / "tables.so").stat().st_size
    check(found and found["kld"] < 4 * klds["w8"] and size < wide and len(table) == 1 and table[0]["format"] == "w8pc",
          f"tables as bytes: {found and found['kld']}, {wide} -> {size} bytes, {table}")
    code, _, err = bench.run("compile", bench.model, "-o", bench.folder / "x.so", "--quantize=w8,tables=w4")
    check(code != 0 and "tables are w8" in err, f"refused: {err.strip()}")
    # A format that had zero points, too.
    found = bench.metric("asym", data, "--quantize=w3g32-asym", "--accuracy-budget=rel:0.02", f"--calib={data}")
    check(found and found["kld"] < 20 * klds["w8"] + 1e-6, f"w3-asym within 2 %: {found and found['kld']}")
    first = (bench.compile("again1", "--quantize=w4g32,gptq", f"--calib={data}", "--name=m"),
             bench.compile("again2", "--quantize=w4g32,gptq", f"--calib={data}", "--name=m", "--threads=1"))
    check(all(first) and first[0].read_bytes() == first[1].read_bytes(), "the same bytes with any number of threads")
    once = bench.compile("static1", "--quantize=w8a8-static,smoothquant", f"--calib={data}", "--name=m", "--threads=2")
    again = bench.compile("static2", "--quantize=w8a8-static,smoothquant", f"--calib={data}", "--name=m", "--threads=2")
    check(once.read_bytes() == again.read_bytes(), "two compiles with data, the same bytes")
    refused(bench, data, ids)
    not_finite(ferrite, folder)


def experts(ferrite, folder):
    """Weights of experts: fewer bits, more divergence; what the codes stand for is what NumPy finds; refusals."""
    random = np.random.default_rng(2)
    bench = Bench(ferrite, MODELS / EXPERTS, folder)
    ids = random.integers(0, 100, (8, 24))
    data, report = bench.folder / "experts.npz", bench.folder / "experts.json"
    np.savez(data, **inputs_of(ids))
    klds = {}
    for spec in ("w8", "w8a8", "w4g32", "w4g32-asym", "w4a8g32", "w3g32", "w2g32"):
        found = bench.metric("experts-" + spec, data, f"--quantize=val_*={spec}", f"--report={report}")
        layers = json.loads(report.read_text())["layers"]
        klds[spec] = found["kld"] if found else float("nan")
        check(layers and all(layer["format"].startswith(spec.split("g")[0].split("-")[0]) and 0 < layer["error"] < 0.6
                             and layer["stored_bytes"] < layer["wide_bytes"] / 3 for layer in layers),
              f"experts {spec}: {[(l['format'], round(l['error'], 4)) for l in layers[:2]]}")
    check(klds["w8"] < klds["w4g32"] < klds["w3g32"] < klds["w2g32"], f"experts of fewer bits: {klds}")
    check(klds["w4g32-asym"] < klds["w4g32"] * 1.2 and klds["w4a8g32"] < klds["w4g32"] * 1.5 and klds["w8"] < klds["w8a8"] < klds["w4g32"],
          "zero points and rounded inputs of experts")
    found = bench.metric("experts-budget", data, "--quantize=w3g32", "--accuracy-budget=rel:0.02", f"--report={report}")
    formats = {layer["format"] for layer in json.loads(report.read_text())["layers"] if layer["weight"].startswith("val_")}
    check(found and "w3g32" not in formats, f"experts within 2 %: {formats}")


def not_finite(ferrite, folder):
    """A weight that is not a number is refused by name."""
    folder = pathlib.Path(folder) / "nan"
    folder.mkdir()
    (folder / SMALL).write_bytes((MODELS / SMALL).read_bytes())
    weights = MODELS / "llama.weights"
    (folder / weights.name).write_bytes(b"\xff" * weights.stat().st_size)
    bench = Bench(ferrite, folder / SMALL, folder)
    code, _, err = bench.run("compile", bench.model, "-o", folder / "x.so", "--quantize=w4")
    check(code == 1 and "not finite" in err and "weight '" in err and not (folder / "x.so").exists(),
          f"refused: {err.strip()}")


def inputs_of(ids):
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def refused(bench, data, ids):
    """Data that does not fit is refused by name."""
    path = pathlib.Path(bench.folder) / "bad.npz"
    cases = [("is empty", {"input_ids": ids[:0], "attention_mask": np.ones_like(ids[:0])}),
             ("'attention_mask'", {"input_ids": ids, "attention_mask": np.ones_like(ids[:3])}),
             ("'other'", {"other": ids}),
             ("no array for the input 'attention_mask'", {"input_ids": ids}),
             ("is not of", {"input_ids": ids.astype(np.float32), "attention_mask": np.ones_like(ids)})]
    for text, arrays in cases:
        np.savez(path, **arrays)
        code, _, err = bench.run("compile", bench.model, "-o", bench.folder / "x.so", "--quantize=w4,gptq",
                                 f"--calib={path}")
        check(code == 1 and text in err and not (bench.folder / "x.so").exists(), f"refused: {err.strip()}")


def tinycode(ferrite, root, folder):
    bench, folder = Bench(ferrite, root / "target" / "model.onnx", folder), pathlib.Path(folder)
    calibration, valid = np.load(root / "calibration.npy").astype(np.int64), np.load(root / "valid.npy").astype(np.int64)

    def windows(ids, count):
        x = np.stack([ids[i * 512:i * 512 + 512] for i in range(count)])
        return x, np.tile(np.arange(512), (count, 1))

    x, positions = windows(calibration, 32)
    np.savez(folder / "calib.npz", input_ids=x, attention_mask=np.ones_like(x), position_ids=positions)
    x, positions = windows(valid, 24)
    # The entry takes a past of one token at least: here one that the mask hides.
    mask = np.concatenate([np.zeros((24, 1), np.int64), np.ones((24, 512), np.int64)], 1)
    past = {f"past_key_values.{i}.{kv}": np.zeros((24, 1, 1, 64), np.float32) for i in range(8)
            for kv in ("key", "value")}
    labels = np.stack([valid[i * 512 + 1:i * 512 + 513] for i in range(24)])
    np.savez(folder / "valid.npz", input_ids=x, attention_mask=mask, position_ids=positions, labels=labels, **past)
    loss = {}
    for name, spec, calib, bar in (
            ("w8", "w8", False, 0.05), ("w8a8", "w8a8", False, 0.15), ("w8a8 static", "w8a8-static,smoothquant", True, None),
            ("w4g64", "w4g64", False, None), ("w4g64 gptq", "w4g64,gptq", True, "w4g64"),
            ("w4g64 awq", "w4g64,awq", True, None), ("w4a8g32", "w4a8g32", False, None),
            ("w3g64", "w3g64", False, None), ("w3g64 gptq", "w3g64,gptq", True, "w3g64"),
            ("w4a4g64", "w4a4g64", False, None), ("w4a4g64 rotate", "w4a4g64,rotate", True, 4.0)):
        found = bench.metric(name.replace(" ", "-"), folder / "valid.npz", f"--quantize={spec}",
                             *([f"--calib={folder / 'calib.npz'}"] if calib else []))
        loss[name] = 100 * (found["perplexity"] / found["float_perplexity"] - 1) if found else float("inf")
        limit = loss[bar] * 2 / 3 if isinstance(bar, str) else bar
        check(limit is None or loss[name] <= limit,
              f"{name:16s} perplexity {loss[name]:+.4f} %, kld {found and found['kld']:.6f}" +
              (f", bar {limit:+.3f} %" if limit is not None else ""))


def minilm(ferrite, root, tokenizer, folder):
    from tokenizers import Tokenizer
    bench, folder = Bench(ferrite, root / "minilm.onnx", folder), pathlib.Path(folder)
    encoder = Tokenizer.from_file(str(tokenizer))
    texts = ["A man is eating food.", "Someone eats a meal.", "The compiler emits machine code.",
             "Quantization keeps eight bits of each weight.", "It rained all day in the mountains."]
    encoder.enable_padding()
    encoded = encoder.encode_batch(texts)
    arrays = {"input_ids": np.array([e.ids for e in encoded]), "attention_mask": np.array([e.attention_mask for e in encoded]),
              "token_type_ids": np.zeros((len(texts), len(encoded[0].ids)), np.int64)}
    found = json.loads(bench.run("inspect", bench.compile("float"), "--json")[1])
    names = {i["name"] for i in found["entries"][0]["inputs"]}
    np.savez(folder / "in.npz", **{k: v.astype(np.int64) for k, v in arrays.items() if k in names})
    vectors = {}
    for name, options in (("float", []), ("w8a8", ["--quantize=w8a8"]), ("w8a8-u8", ["--quantize=w8a8-u8"]), ("w8a8-rotate", ["--quantize=w8a8,rotate"]),
                          ("w4a8g32", ["--quantize=w4a8g32,gptq", f"--calib={folder / 'in.npz'}"])):
        artifact = bench.compile(name, *options)
        code, _, err = bench.run("run", artifact, "--inputs", folder / "in.npz", "--outputs", folder / "out.npz")
        if code:
            sys.exit(err)
        vectors[name] = np.load(folder / "out.npz")["sentence_embedding"].astype(np.float64)
    for name in ("w8a8", "w8a8-u8", "w8a8-rotate", "w4a8g32"):
        a, b = vectors["float"], vectors[name]
        cosine = ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min()
        check(name not in ("w8a8-u8", "w8a8-rotate") or cosine >= 0.998, f"MiniLM {name}: least cosine {cosine:.5f}")


def scores(ferrite, folder):
    """qk8 against what PyTorch computed: near it, and not as near as float code."""
    bench, case = Bench(ferrite, MODELS / "albert.dynamo-20-sdpa.onnx", folder), HERE / "albert.b3-s16-right.npz"
    with np.load(case) as arrays:
        np.savez(bench.folder / "in.npz", **{k[3:]: v for k, v in arrays.items() if k.startswith("in.")})
        output = next(k[4:] for k in arrays if k.startswith("out."))
        want = arrays["out." + output].astype(np.float64)
    for name, options, least, most in (("float", [], 0, 1e-5), ("qk8", ["--quantize=qk8"], 1e-5, 5e-2),
                                       ("w8,qk8", ["--quantize=w8,qk8"], 1e-5, 5e-2)):
        artifact = bench.compile(name, *options)
        code, _, err = bench.run("run", artifact, "--inputs", bench.folder / "in.npz", "--outputs", bench.folder / "out.npz")
        if code:
            sys.exit(err)
        with np.load(bench.folder / "out.npz") as arrays:
            seen = np.isfinite(want)  # rows of padding may be none
            error = np.linalg.norm((arrays[output] - want)[seen]) / np.linalg.norm(want[seen])
        check(least <= error <= most, f"scores of {name}: relative error {error:.2e}")
    for spec, word in (("qk8,gptq", "is a method for weights"), ("absent=qk8", "no attention with a node named 'absent'")):
        code, _, err = bench.run("compile", bench.model, "-o", bench.folder / "no.so", f"--quantize={spec}")
        check(code == 1 and word in err, f"--quantize={spec} is refused: {err.strip()}")


SMALL = "llama.dynamo-20-sdpa.onnx"
EXPERTS = "mixtral.dynamo-20-sdpa.onnx"

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("ferrite")
    parser.add_argument("--tinycode", type=pathlib.Path)
    parser.add_argument("--minilm", type=pathlib.Path)
    parser.add_argument("--tokenizer", type=pathlib.Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.tinycode:
            tinycode(args.ferrite, args.tinycode, folder)
        if args.minilm:
            minilm(args.ferrite, args.minilm, args.tokenizer, folder)
        if not args.tinycode and not args.minilm:
            small(args.ferrite, folder)
            experts(args.ferrite, folder)
            scores(args.ferrite, folder)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)
