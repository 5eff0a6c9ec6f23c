"""ferrite.compile: the program's arguments and answers, and a whole MiniLM."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import ferrite

FAKE = f"""#!{sys.executable}
import json, pathlib, sys
model = sys.argv[-1]
pathlib.Path(__file__).with_name("arguments").write_text(json.dumps(sys.argv[1:]))
if model == "gate.onnx":
    print(json.dumps({{"fusions": []}}))
if model != "good.onnx":
    print("ferrite: error: node 'a' is wrong", file=sys.stderr)
    sys.exit(2 if model == "later.onnx" else 1)
print(json.dumps({{"seconds": 1.5}}))
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    program = tmp_path / "ferrite"
    program.write_text(FAKE)
    program.chmod(0o755)
    monkeypatch.setenv("FERRITE_EXECUTABLE", str(program))
    return lambda: json.loads((tmp_path / "arguments").read_text())


def test_arguments(fake):
    assert ferrite.compile("good.onnx", "o.so") == {"seconds": 1.5}
    assert fake() == [
        "compile", "--json", "--quiet", "--emit=so", "--output=o.so", "--", "good.onnx"
    ]  # fmt: skip
    ferrite.compile(
        pathlib.Path("good.onnx"),
        pathlib.Path("o.a"),
        emit="static",
        cpu=["avx512", "avx2"],
        dims={"sequence": (1, 512), "batch": 8},
        weights="embed",
        name="m",
        require_fusion="attention:all",
        report="r.json",
        threads=3,
        debug=True,
    )
    assert fake() == [
        "compile", "--json", "--quiet", "--emit=static", "--cpu=avx512,avx2",
        "--dim=sequence=1..512", "--dim=batch=8", "--require-fusion=attention:all",
        "--weights=embed", "--name=m", "--report=r.json", "--threads=3", "--debug",
        "--output=o.a", "--", "good.onnx",
    ]  # fmt: skip
    ferrite.compile(
        "good.onnx",
        "o.so",
        with_models={"draft": pathlib.Path("small.onnx")},
        step_with=["embeddings", "hidden:3"],
        step_entries={"early": "skip:4-7"},
    )
    assert fake() == [
        "compile", "--json", "--quiet", "--emit=so", "--with=draft:small.onnx",
        "--step-with=embeddings", "--step-with=hidden:3", "--step-entry=early:skip:4-7",
        "--output=o.so", "--", "good.onnx",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "model, code, report", [("bad", 1, None), ("later", 2, None), ("gate", 1, {"fusions": []})]
)
def test_failures(fake, model, code, report):
    with pytest.raises(ferrite.CompileError, match="node 'a' is wrong") as caught:
        ferrite.compile(f"{model}.onnx", "o.so")
    assert caught.value.exit_code == code
    assert caught.value.report == report


def test_where_the_program_is_found(fake, tmp_path, monkeypatch):
    program = tmp_path / "ferrite"
    assert ferrite.find_executable() == str(program)
    monkeypatch.setenv("FERRITE_EXECUTABLE", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="FERRITE_EXECUTABLE"):
        ferrite.find_executable()
    monkeypatch.delenv("FERRITE_EXECUTABLE")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))  # beside
    monkeypatch.setenv("PATH", "")
    assert ferrite.find_executable() == str(program)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    with pytest.raises(FileNotFoundError, match="set FERRITE_EXECUTABLE"):
        ferrite.find_executable()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ferrite.find_executable() == str(program)


# -- With the real compiler ----------------------------------------------------


def test_a_model_that_is_none(compiler, tmp_path, monkeypatch):
    monkeypatch.setenv("FERRITE_EXECUTABLE", str(compiler))
    text = tmp_path / "text.onnx"
    text.write_text("no model")
    with pytest.raises(ferrite.CompileError, match="text.onnx") as caught:
        ferrite.compile(text, tmp_path / "o.so")
    assert caught.value.exit_code in (1, 2)
    assert not (tmp_path / "o.so").exists()


def test_minilm(compiler, minilm_graph, tmp_path, monkeypatch):
    monkeypatch.setenv("FERRITE_EXECUTABLE", str(compiler))
    artifact = tmp_path / "minilm.so"
    report = ferrite.compile(minilm_graph, artifact, require_fusion="attention:all")
    assert report["weights_bytes"] > 80e6 and report["levels"]

    model = ferrite.load(artifact)
    assert any(f["kind"] == "attention" for f in model.describe()["fusions"])
    references = pathlib.Path(__file__).resolve().parents[2] / "test" / "e2e"
    cases = sorted(references.glob("minilm.*.npz"))
    assert cases
    for path in cases:
        with np.load(path) as file:
            parts = {name: file[name] for name in file.files}
        inputs = {n[3:]: a for n, a in parts.items() if n.startswith("in.")}
        wanted = {n[4:]: a for n, a in parts.items() if n.startswith("out.")}
        got = model.run(inputs)
        for name, want in wanted.items():
            assert got[name].shape == want.shape and got[name].dtype == want.dtype
            error = np.linalg.norm(got[name] - want) / np.linalg.norm(want)
            assert error <= 2e-5, (path.name, name, error)
        again = model.run(inputs, threads=2)
        assert all(again[n].tobytes() == got[n].tobytes() for n in got)


def test_both_entries_of_a_merged_decoder(compiler, tmp_path, monkeypatch):
    monkeypatch.setenv("FERRITE_EXECUTABLE", str(compiler))
    tests = pathlib.Path(__file__).resolve().parents[2] / "test"
    artifact = tmp_path / "merged.so"
    report = ferrite.compile(
        tests / "models" / "llama-merged.optimum-17-sdpa.onnx", artifact, cpu="native"
    )
    names = ["use_cache_branch_false", "use_cache_branch_true", "step"]
    assert [entry["name"] for entry in report["entries"]] == names

    model = ferrite.load(artifact)
    assert [entry.name for entry in model.entries] == names
    for path in sorted((tests / "e2e").glob("llama-merged.*.npz")):
        with np.load(path) as file:
            parts = {name: file[name] for name in file.files}
        inputs = {n[3:]: a for n, a in parts.items() if n.startswith("in.")}
        flag = bool(inputs.pop("use_cache_branch").all())
        got = model.run(inputs, entry=names[flag])["logits"]
        want = parts["out.logits"]
        real = ~np.isnan(want)  # not of padding
        error = np.linalg.norm((got - want)[real]) / np.linalg.norm(want[real])
        assert got.shape == want.shape and error <= 2e-5, (path.name, error)


def test_encoder_decoder_writes(compiler, tmp_path, monkeypatch):
    monkeypatch.setenv("FERRITE_EXECUTABLE", str(compiler))
    tests = pathlib.Path(__file__).resolve().parents[2] / "test"
    row = json.loads((tests / "e2e" / "generated.json").read_text())["t5"]
    models = {}
    for part in ("encoder", "decoder"):
        artifact = tmp_path / f"{part}.so"
        ferrite.compile(
            tests / "models" / f"t5-{part}.dynamo-20-sdpa.onnx", artifact, cpu="native"
        )
        models[part] = ferrite.load(artifact)
    assert [entry.name for entry in models["decoder"].entries] == ["main", "encode", "step"]
    with pytest.raises(ferrite.Error, match="no input of the encoder"):
        ferrite.Generator(models["decoder"]).submit(row["start"], source=row["source"])
    generator = ferrite.Generator(models["decoder"], encoders=[models["encoder"]], threads=1)
    options = {"max_tokens": 200, "source": row["source"]}
    assert generator.generate(row["start"], **options)[0].tokens == row["greedy"]["tokens"]
    penalized = generator.generate(row["start"], repetition_penalty=1.3, **options)
    assert penalized[0].tokens == row["penalty"]["tokens"]
    assert generator.stats["encoder_runs"] == 2
    with pytest.raises(ferrite.Error, match="input_ids"):
        generator.submit(row["start"])
    with pytest.raises(ferrite.Error, match="no input of the encoder"):
        generator.submit(row["start"], source={"pixels": np.zeros((1, 4), np.float32)})


def test_llvm_stays_outside(compiler, minilm_graph, tmp_path):
    """Compiling and running maps no library of LLVM into this process."""
    code = (
        "import ferrite, sys\n"
        "ferrite.compile(sys.argv[1], sys.argv[2], cpu='avx2')\n"
        "ferrite.load(sys.argv[2]) if 'avx2' in open('/proc/cpuinfo').read() else 0\n"
        "maps = open('/proc/self/maps').read()\n"
        "assert '_runtime' in maps\n"
        "assert 'LLVM' not in maps and 'MLIR' not in maps and 'ferrite_compiler' not in maps"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(minilm_graph), str(tmp_path / "m.so")],
        check=True,
        env={"FERRITE_EXECUTABLE": str(compiler), "PATH": ""},
    )


def test_bits_and_sparsity(compiler, tmp_path, monkeypatch):
    monkeypatch.setenv("FERRITE_EXECUTABLE", str(compiler))
    source = (
        pathlib.Path(__file__).resolve().parents[2]
        / "test/models/llama-kv.dynamo-20-sdpa.onnx"
    )
    ids = np.arange(32).reshape(2, 16) % 50
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    inputs["position_ids"] = np.tile(np.arange(16), (2, 1))
    report = ferrite.compile(
        source,
        tmp_path / "few.so",
        cpu="native",
        quantize="w4g32,gptq",
        calib={name: value.astype(np.int64) for name, value in inputs.items()},
        accuracy_budget="rel:0.9",
        kv="int8",
        sparsify="window:8",
        require_sparsity="attention:0.1",
    )
    assert {layer["format"] for layer in report["layers"]} >= {"w4g32"}
    with pytest.raises(ferrite.CompileError, match="calib"):
        ferrite.compile(source, tmp_path / "none.so", quantize="w4g32,gptq")
    assert not (tmp_path / "none.so").exists()
