"""Texts of test/tools/ferrite/decoder.c, which can be told in advance."""

import threading

import numpy as np
import pytest
from conftest import ROOT, build

import ferrite


@pytest.fixture(scope="session")
def decoder(tmp_path_factory):
    return ferrite.load(
        build(ROOT / "test" / "tools" / "ferrite" / "decoder.c", tmp_path_factory.mktemp("decoder"))
    )


def expected(prompt, count):
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(sum(t * (j + 1) for j, t in enumerate(tokens)) % 23)
    return tokens[len(prompt) :]


@pytest.fixture
def generator(decoder):
    return ferrite.Generator(decoder, threads=1, max_tokens=500)


def test_greedy(generator):
    [text] = generator.generate([5, 7, 1], max_tokens=100)
    assert text.tokens == expected([5, 7, 1], 100)
    assert text.finish is ferrite.Finish.LENGTH
    assert generator.vocabulary == 23 and generator.max_tokens == 500
    assert generator.stats["text_tokens"] == 100
    assert generator.stats["cache_used_pages"] == 0


def test_many_at_once(generator):
    requests = [generator.submit([i, 3], max_tokens=10 + i) for i in range(20)]
    generator.run()
    for i, request in enumerate(requests):
        assert request.result()[0].tokens == expected([i, 3], 10 + i)
    assert generator.stats["steps"] < 60


def test_stream(generator):
    got = list(generator.stream([4], max_tokens=7, logprobs=2))
    assert [t.token for t in got] == expected([4], 7)
    assert [t.position for t in got] == list(range(7))
    assert got[-1].finish is ferrite.Finish.LENGTH and got[0].finish is None
    # Logits are -0, -1, -2, ...: the best has log(1 / sum(exp(-i))).
    best = -np.log(np.exp(-np.arange(23.0)).sum())
    assert got[0].logprob == pytest.approx(best, abs=1e-5)
    assert [token for token, _ in got[0].logprobs][0] == got[0].token
    assert got[0].logprobs[1][1] == pytest.approx(best - 1, abs=1e-5)
    for token in generator.stream([4], max_tokens=100):
        if token.position == 3:
            break
    generator.run()
    assert generator.stats["cache_used_pages"] == 0


def test_sampling(generator):
    def of(seed, **options):
        return [t.tokens for t in generator.generate(
            [2], max_tokens=20, temperature=1.0, seed=seed, samples=2, **options)]

    assert of(1) == of(1) != of(2)
    assert of(1)[0] != of(1)[1]
    assert of(1, top_k=1) == [expected([2], 20)] * 2
    [text] = generator.generate([2], max_tokens=5, logit_bias={9: 1000.0})
    assert text.tokens == [9] * 5


def test_stops(generator):
    tokens = expected([5, 7, 1], 30)
    stop = tokens[5]
    [text] = generator.generate([5, 7, 1], stop_tokens=[stop])
    assert text.tokens == tokens[: tokens.index(stop) + 1]
    assert text.finish is ferrite.Finish.STOP

    def spell(ids):
        return "".join(chr(97 + i) for i in ids)

    word = spell(tokens[10:13])
    [text] = generator.generate([5, 7, 1], max_tokens=30, stop=[word], detokenize=spell)
    assert spell(text.tokens) == spell(tokens)[: spell(tokens).index(word) + 3]


def test_beams(generator):
    texts = generator.generate([3, 4], max_tokens=4, beams=3, samples=3)
    assert texts[0].tokens == expected([3, 4], 4)
    assert texts[0].score >= texts[1].score >= texts[2].score


@pytest.mark.parametrize("kind", ["lookup", "draft"])
def test_speculation(decoder, kind):
    generator = ferrite.Generator(decoder, draft=decoder, max_tokens=500)
    [text] = generator.generate([3, 4], max_tokens=200, speculation=kind)
    assert text.tokens == expected([3, 4], 200)
    assert generator.stats["accepted_tokens"] > 0


def test_masks(generator):
    def even(sample, tokens, logits):
        assert sample == 0 and tokens[:2] == [1, 2] and logits.shape == (23,)
        logits[1::2] = -np.inf

    [text] = generator.generate([1, 2], max_tokens=20, mask_logits=even)
    assert len(text.tokens) == 20 and all(t % 2 == 0 for t in text.tokens)


def test_what_callbacks_raise(generator):
    def bad(*_):
        raise KeyError("from the callback")

    other = generator.submit([1], max_tokens=5)
    with pytest.raises(KeyError, match="from the callback"):
        generator.generate([1], max_tokens=5, on_token=bad)
    with pytest.raises(KeyError):
        generator.generate([1], max_tokens=5, mask_logits=bad)
    generator.run()
    assert other.result()[0].tokens == expected([1], 5)
    assert generator.stats["cache_used_pages"] == 0


def test_cancel(generator):
    seen = []
    [text] = generator.generate(
        [1], max_tokens=50, on_token=lambda t: seen.append(t) or len(seen) == 3)
    assert text.tokens == expected([1], 3)
    assert text.finish is ferrite.Finish.CANCELLED
    request = generator.submit([1], max_tokens=400)
    generator.step()
    threading.Thread(target=request.cancel).start()
    generator.run()
    assert request.finished


def test_mistakes(generator, model):
    with pytest.raises(ferrite.Error) as error:
        generator.submit([23])
    assert error.value.status is ferrite.Status.INVALID_ARGUMENT
    with pytest.raises(TypeError, match="no option 'temprature'"):
        generator.submit([1], temprature=1)
    with pytest.raises(ValueError, match="speculation"):
        generator.submit([1], speculation="guess")
    with pytest.raises(ferrite.Error) as error:
        ferrite.Generator(model)
    assert error.value.status is ferrite.Status.NOT_FOUND
    with pytest.raises(RuntimeError, match="not finished"):
        generator.submit([1], max_tokens=9).result()


def test_out_of_pages(decoder):
    generator = ferrite.Generator(decoder, cache_pages=2, max_tokens=128)
    requests = [generator.submit([i], max_tokens=100) for i in range(4)]
    generator.run()
    for i, request in enumerate(requests):
        assert request.result()[0].tokens == expected([i], 100)
    assert generator.stats["cache_peak_pages"] == 2
    request = generator.submit([1] * 100, max_tokens=20, beams=3)
    generator.run()
    with pytest.raises(ferrite.Error) as error:
        request.result()
    assert error.value.status is ferrite.Status.OUT_OF_PAGES


def test_drafts_of_the_model_itself(compiler, tmp_path, monkeypatch):
    """Guesses of fewer layers and of a second model in the artifact change no text."""
    monkeypatch.setenv("FERRITE_EXECUTABLE", str(compiler))
    source = ROOT / "test" / "models" / "llama-kv.torchscript-17-sdpa.onnx"
    ferrite.compile(
        source,
        tmp_path / "both.so",
        cpu="native",
        with_models={"draft": source},
        step_entries={"early": "skip:1"},
        step_with="embeddings",
    )
    model = ferrite.load(tmp_path / "both.so")
    prompt = [5, 17, 9, 40, 3]
    [plain] = ferrite.Generator(model, threads=1).generate(prompt, max_tokens=40)
    for entry in ("early", "draft_step"):
        generator = ferrite.Generator(model, threads=1, draft_entry=entry)
        [text] = generator.generate(prompt, max_tokens=40, speculation="draft")
        assert text.tokens == plain.tokens
        stats = generator.stats
        assert 0 < stats["drafted_tokens"] >= stats["accepted_tokens"]
        if entry == "draft_step":
            assert stats["drafted_tokens"] == stats["accepted_tokens"]


def test_texts_that_leave_layers_out(compiler, tmp_path, monkeypatch):
    """Each of the texts of a batch goes through the layers that it was told to."""
    monkeypatch.setenv("FERRITE_EXECUTABLE", str(compiler))
    ferrite.compile(
        ROOT / "test" / "models" / "llama-kv.torchscript-17-sdpa.onnx",
        tmp_path / "exits.so",
        cpu="native",
        step_entries={"early": "skip:1", "exits": "choose:1", "first": "choose:0"},
    )
    model = ferrite.load(tmp_path / "exits.so")
    prompt = list(range(3, 90))  # more than a page: a beginning that texts share

    def alone(entry, **more):
        generator = ferrite.Generator(model, threads=1, entry=entry)
        [text] = generator.generate(prompt, max_tokens=30, **more)
        return text.tokens

    whole, less = alone("step"), alone("early")
    assert whole != less
    assert alone("exits") == whole
    generator = ferrite.Generator(model, threads=1, entry="exits")
    leaving = [(), (0,), (), (0,), (0,)]
    requests = [
        generator.submit(
            prompt,
            max_tokens=30,
            leave_out=blocks,
            speculation="lookup" if i % 2 else None,
        )
        for i, blocks in enumerate(leaving)
    ]
    generator.run()
    for request, blocks in zip(requests, leaving):
        assert request.texts[0] == (less if blocks else whole)
    with pytest.raises(ferrite.Error, match="1 blocks"):
        generator.submit(prompt, leave_out=[1])
    with pytest.raises(ValueError, match="from 0"):
        generator.submit(prompt, leave_out=[-1])
    with pytest.raises(ferrite.Error, match="0 blocks"):
        ferrite.Generator(model, entry="early").submit(prompt, leave_out=[0])


def test_eviction(decoder):
    generator = ferrite.Generator(decoder, threads=1, cache_pages=3, kv_evict="streaming:64+64")
    [text] = generator.generate([5, 7, 1], max_tokens=600)
    assert len(text.tokens) == 600 and text.tokens[:60] == expected([5, 7, 1], 60)
    assert generator.stats["cache_peak_pages"] == 3 and generator.stats["evictions"] == 0
    with pytest.raises(ferrite.Error, match="snapkv:BUDGET"):
        ferrite.Generator(decoder, kv_evict="snapkv:0")
    with pytest.raises(ferrite.Error, match="sparsify=weigh"):
        ferrite.Generator(decoder, kv_evict="h2o:64+64")
