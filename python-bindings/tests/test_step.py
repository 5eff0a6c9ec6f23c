"""Step entries with what they have on request, against ONNX Runtime's answers of
test/e2e/llama-kv-parts.npz (make_parts.py)."""

import numpy as np
import pytest
from conftest import ROOT

import ferrite
from ferrite import Run

PARTS = ["embeddings", "hidden:0", "hidden:1", "hidden:2", "lse:0", "lse:1"]


@pytest.fixture(scope="module")
def want():
    return np.load(ROOT / "test" / "e2e" / "llama-kv-parts.npz")


@pytest.fixture(scope="module")
def model(compiler, tmp_path_factory):
    path = tmp_path_factory.mktemp("step") / "step.so"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FERRITE_EXECUTABLE", str(compiler))
        ferrite.compile(
            ROOT / "test" / "models" / "llama-kv.torchscript-17-sdpa.onnx",
            path,
            cpu="native",
            step_with=PARTS,
            step_entries={"early": "skip:1", "exits": "choose:1"},
        )
    return ferrite.load(path)


def near(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * np.abs(want).max())


def test_everything_it_gives(model, want):
    step = ferrite.Step(model, "step", pages=4, threads=1)
    sequence, found = step.sequence(), []
    for part in (slice(0, 3), slice(3, None)):
        ids = want["ids"][part]
        found.append(step.run([Run(sequence, ids)], rows=range(len(ids))))
    assert len(sequence) == len(want["ids"])
    near(np.concatenate([each["logits"] for each in found]), want["logits"])
    for name in PARTS[1:]:
        near(np.concatenate([each[name] for each in found]), want[name.replace(":", "")])


def test_embeddings(model, want):
    step = ferrite.Step(model, "step", pages=4, threads=1)
    sequence, logits = step.sequence(), []
    for i, token in enumerate(want["ids"]):  # some tokens have embeddings
        given = want["embeddings"][i : i + 1] if want["embedded"][i] else None
        logits.append(step.run([Run(sequence, [token], embeddings=given)])["logits"])
    near(np.concatenate(logits), want["embedded_logits"])
    with pytest.raises(ValueError, match="not \\(1,"):
        step.run([Run(sequence, [3], embeddings=np.zeros((1, 3)))])
    assert len(sequence) == len(want["ids"])  # as before


def test_layers_left_out(model, want):
    early = ferrite.Step(model, "early", pages=4, threads=1)
    less = early.run([Run(early.sequence(), want["ids"])])["logits"]
    near(less[0], want["skip1_logits"][-1])
    exits = ferrite.Step(model, "exits", pages=8, threads=1)
    assert exits.blocks == [1]
    both = exits.run(
        [
            Run(exits.sequence(), want["ids"], leaves_out=[1]),
            Run(exits.sequence(), want["ids"]),
        ]
    )["logits"]
    assert np.array_equal(both[0], less[0])
    near(both[1], want["logits"][-1])
    with pytest.raises(ValueError, match="begin at \\[3\\]"):
        exits.run([Run(exits.sequence(), [5], leaves_out=[3])])


def test_sequences(model, want):
    """Forks, trees, snapshots and what is forgotten: the bits of one text alone."""
    ids = want["ids"]
    step = ferrite.Step(model, "step", pages=6, threads=2)
    text = step.sequence()
    whole = step.run([Run(text, ids)], rows=range(len(ids)))["logits"]
    child = text.fork(4)
    assert len(child) == 4 and step.usage["used_pages"] == 1
    again = step.run([Run(child, ids[4:])], rows=range(len(ids) - 4))["logits"]
    assert np.array_equal(again, whole[4:])
    child.truncate(2)
    tree = step.run(
        [Run(child, [ids[2], 7, ids[3]], positions=[2, 3, 3], visible=[1, 3, 5])], rows=[0, 2]
    )["logits"]
    assert np.array_equal(tree, whole[2:4])
    child = step.restore(text.fork(3).snapshot())
    assert np.array_equal(step.run([Run(child, ids[3:5])])["logits"][0], whole[4])
    with pytest.raises(ferrite.Error, match="the most is 384"):
        step.run([Run(child, [1] * 500)])
    with pytest.raises(ferrite.Error, match="token_ids"):
        step.run([Run(child, [10**6])])
    assert len(child) == 5  # nothing of what failed is in it
    with pytest.raises(ValueError, match="no tokens"):
        step.run([Run(child, [])])
    with pytest.raises(ferrite.Error):
        step.restore(b"nothing")
    del text, child
    assert step.usage["sequences"] == 0 and step.usage["used_pages"] == 0


def test_layers_with_windows(compiler, tmp_path, monkeypatch):
    """Gemma-2, whose first layer has a window and pages of its own: each layer left out, for
    all of a call and for some runs of it, gives the same bits."""
    monkeypatch.setenv("FERRITE_EXECUTABLE", str(compiler))
    entries = {"late": "skip:0", "early": "skip:1", "first": "choose:0", "last": "choose:1"}
    ferrite.compile(
        ROOT / "test" / "models" / "gemma2-kv.dynamo-20-eager.onnx",
        tmp_path / "gemma.so",
        cpu="native",
        step_entries=entries,
    )
    gemma, ids = ferrite.load(tmp_path / "gemma.so"), np.arange(5, 25)

    def run(entry, count, leaves_out=()):
        step = ferrite.Step(gemma, entry, pages=8, threads=1)
        sequences, logits = [step.sequence() for _ in range(count)], []
        for part in (slice(0, 7), slice(7, 8), slice(8, 20)):
            runs = [
                Run(sequence, ids[part], leaves_out=leaves_out[i : i + 1])
                for i, sequence in enumerate(sequences)
            ]
            logits.append(step.run(runs))
        return np.stack([each["logits"] for each in logits], 1)

    [whole] = run("step", 1)
    for entry, skip, layer in (("first", "late", 0), ("last", "early", 1)):
        [less] = run(skip, 1)
        left, through = run(entry, 2, [layer])
        assert np.array_equal(left, less) and np.array_equal(through, whole)
        assert not np.array_equal(less, whole)
