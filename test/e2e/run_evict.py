#!/usr/bin/env python3
"""Checks what texts give back (generate --kv-evict) against NumPy.

    run_evict.py FERRITE
    run_evict.py FERRITE --tinycode DIR     # perplexity of a trained model: minutes

FERRITE is the program; the runtime library is taken from ../lib beside it. Takes the decoder
of run_kv.py with more places, compiled with --sparsify=weigh, and checks

  weights   what keys get of attention, by chunks of a prompt and of all kinds of pages
  texts     of snapkv and h2o: tokens and their probabilities are those of the policy in NumPy (f64),
            which keeps keys of each head of each layer by the text of generate.h; without eviction
            they are far from it
  same      in other chunks, in company, behind a preemption, as one of two samples: the same text
  memory    the pages that are held
  refused   budgets that are none, models and requests that cannot

DIR of tinycode holds target/model.onnx and valid.npy: of the first 5 windows of 2048 tokens the first 1024 are
a prompt, and the 512 behind them have a perplexity, under policies as under none. Prints "N passed, N failed".
"""
import argparse
import ctypes
import json
import pathlib
import subprocess
import sys
import tempfile

from ctypes import c_char_p, c_float, c_int32, c_int64, c_size_t, c_void_p

import numpy as np

import run_kv
from run_e2e import Results, execute
from steps import I32, I64, Error, Sequence, Step

PROMPT, TEXT, POOLED, EVERY = 300, 150, 7, 64
POLICIES = {"snapkv:64+16": ("snapkv", 64, 16), "snapkv:100": ("snapkv", 100, 32), "h2o:40+24": ("h2o", 40, 24)}
REFUSED = [("snapkv", "snapkv:BUDGET"), ("snapkv:0", "snapkv:BUDGET"), ("snapkv:5+", "snapkv:BUDGET"), ("h2o:64", "h2o:BUDGET"),
           ("h2o:64+0", "h2o:BUDGET"), ("h2o:64+8x", "h2o:BUDGET"), ("lru:4", "snapkv:BUDGET"), ("h2o:-1+8", "h2o:BUDGET"),
           ("snapkv:99999999999999", "snapkv:BUDGET"), ("streaming:64", "streaming:SINKS")]


class Text:
    """A text of the decoder in f64, whose heads keep what a policy says."""

    def __init__(self, size, policy):
        self.w = {name: array.astype(np.float64) for name, array in run_kv.weights(size).items()}
        self.size, (self.kind, self.budget, self.window) = size, policy
        self.kept = [[[np.zeros((0, size)), np.zeros((0, size)), np.zeros(0)] for _ in range(run_kv.KEY_HEADS)]
                     for _ in range(run_kv.LAYERS)]
        self.seen = 0

    def read(self, ids, prompt):
        """Logits of each token; `prompt`: what ends with these is one."""
        count = len(ids)
        x = self.w["words"][ids] + self.w["places"][self.seen + np.arange(count)]
        group = run_kv.HEADS // run_kv.KEY_HEADS
        for i in range(run_kv.LAYERS):
            q, k, v = ((x @ self.w[f"{n}{i}"]).reshape(count, -1, self.size).transpose(1, 0, 2) for n in "qkv")
            a = np.zeros_like(q)
            for head, mine in enumerate(self.kept[i]):
                past = len(mine[0])
                mine[0], mine[1] = np.concatenate([mine[0], k[head]]), np.concatenate([mine[1], v[head]])
                got = np.concatenate([mine[2], np.zeros(count)])
                hidden = np.arange(past + count) > past + np.arange(count)[:, None]
                for h in range(head * group, (head + 1) * group):
                    z = np.where(hidden, -np.inf, q[h] @ mine[0].T * self.size ** -0.5)
                    p = np.exp(z - z.max(-1, keepdims=True))
                    p /= p.sum(-1, keepdims=True)
                    a[h] = p @ mine[1]
                    if self.kind == "h2o" or prompt:
                        got += (p if self.kind == "h2o" else p[-self.window:]).sum(0)
                mine[2] = got
            x = x + np.tanh(a.transpose(1, 0, 2).reshape(count, -1) @ self.w[f"o{i}"])
        self.seen += count
        length, most = len(self.kept[0][0][0]), self.budget + self.window
        if self.kind and (length > most if prompt else self.kind == "h2o" and length == most + EVERY):
            self.evict(length - self.window)
        return x @ self.w["head"]

    def evict(self, before):
        for layer in self.kept:
            for mine in layer:
                got = mine[2][:before]
                if self.kind == "snapkv":
                    padded = np.pad(got, POOLED // 2, constant_values=-1)
                    got = np.max([padded[i:i + before] for i in range(POOLED)], 0)
                best = np.sort(np.argsort(-got, kind="stable")[:self.budget])
                keep = np.concatenate([best, np.arange(before, before + self.window)])
                for i in range(3):
                    mine[i] = mine[i][keep]


def simulate(prompt, policy, size, count):
    """The tokens that follow, the most likely ones, with the logarithms of their probabilities."""
    text, tokens, scores = Text(size, policy), [], []
    logits = text.read(prompt, True)[-1]
    while True:
        top = logits.max()
        scores.append(top - (top + np.log(np.exp(logits - top).sum())))
        tokens.append(int(np.argmax(logits)))
        if len(tokens) == count:
            return tokens, np.array(scores)
        logits = text.read(np.array(tokens[-1:]), False)[-1]


def generate(ferrite, artifact, prompts, *options):
    command = [ferrite, "generate", artifact, "--json", "--threads=1", *options]
    for prompt in prompts:
        command += ["--prompt-ids", ",".join(map(str, prompt))]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    return json.loads(done.stdout) if done.returncode == 0 else (done.returncode, done.stderr)


def weigh(step, ids, sizes, count):
    """What the keys get of the last `count` tokens, over calls of these sizes; of each layer."""
    sequence, other, at, total = Sequence(), Sequence(), 0, None
    turn = 0
    while at < len(ids):
        n = min(sizes[turn % len(sizes)], len(ids) - at)
        runs = [(other, ids[:2], range(2 * turn, 2 * turn + 2)), (sequence, ids[at:at + n], range(at, at + n))]
        mine = max(0, min(n, at + n - (len(ids) - count)))
        inputs = {"weigh_runs": ([1], I64), "weigh_tokens": ([mine], I32)}
        got = step.run(runs, changed=inputs, outputs=[f"key_weights.{i}" for i in range(run_kv.LAYERS)])
        got = [np.pad(w[0], ((0, 0), (0, 0 if total is None else max(0, total[0].shape[1] - w.shape[2])))) for w in got]
        if total is not None:
            total = [np.pad(w, ((0, 0), (0, got[0].shape[1] - w.shape[1]))) for w in total]
        total = got if total is None else [a + b for a, b in zip(total, got)]
        at, turn = at + n, turn + 1
    step.free = sequence.pages + other.pages + step.free
    return np.stack([w[:, :len(ids)] for w in total])


def check_weights(ferrite, library, folder, compiled, add):
    ids = np.random.default_rng(3).integers(0, run_kv.WORDS, PROMPT)
    for policy in (("h2o", 10 ** 6, 1), ("snapkv", 10 ** 6, 40)):
        text = Text(64, policy)
        text.read(ids, True)
        want = np.array([[mine[2] for mine in layer] for layer in text.kept])
        count = PROMPT if policy[0] == "h2o" else 40
        for kv in ("f32", "f16", "bf16", "int8", "int4"):
            step = Step(library, compiled(f"weigh-{kv}", "--sparsify=weigh", f"--kv={kv}"), 40, fill=0)
            got = weigh(step, ids, [PROMPT], count)
            error = np.abs(got / 2.0 ** 32 - want).max() / want.max()
            limit = {"f32": 1e-5, "f16": 2e-3, "bf16": 2e-2, "int8": 2e-2, "int4": 0.3}[kv]
            add(error < limit, f"weights {kv}, {count}", f"{error:.1e}")
            total = run_kv.HEADS * run_kv.LAYERS * count
            add(abs(got.sum() / 2.0 ** 32 - total) < 1e-3 * total, f"sum {kv}, {count}")
            same = all(np.array_equal(weigh(step, ids, sizes, count), got) for sizes in ([64], [7, 1, 100, 13]))
            add(same, f"chunks {kv}, {count}")
            step.close()


    step = Step(library, compiled("weigh-f32"), 40)
    for runs, tokens, word in (([1], [1], "outside of 1 runs"), ([-1], [1], "outside of 1 runs"), ([0], [9], "of a run of 8"),
                               ([0], [-1], "of a run of 8"), ([0], [1, 1], "weigh")):
        try:
            step.run([(Sequence(), ids[:8], range(8))], changed={"weigh_runs": (runs, I64), "weigh_tokens": (tokens, I32)})
            add(False, f"no {runs}, {tokens}")
        except RuntimeError as error:
            add(word in str(error), f"no {runs}, {tokens}", str(error)[-90:])
    step.close()


def small(ferrite, library, folder, add):
    run_kv.PLACES = 1024
    model = folder / "model.onnx"
    run_kv.write_model(model, 64)
    artifacts = {}

    def compiled(name, *options):
        if name not in artifacts:
            artifacts[name] = folder / f"{name}.so"
            execute(ferrite, "compile", model, "-o", artifacts[name], "--cpu=native", "--quiet", *options, limit=300)
        return artifacts[name]

    check_weights(ferrite, library, folder, compiled, add)
    artifact = compiled("weigh-f32", "--sparsify=weigh", "--kv=f32")
    rng = np.random.default_rng(11)
    prompts = [rng.integers(0, run_kv.WORDS, n).tolist() for n in (PROMPT, 211, 40)]
    common = [f"--max-tokens={TEXT}", "--logprobs=1"]

    def of(answer):
        if isinstance(answer, tuple):
            return answer
        return [(s["tokens"], s.get("logprobs")) for text in answer["texts"] for s in text["samples"]]

    dense = generate(ferrite, artifact, prompts[:1], *common)
    for option, policy in POLICIES.items():
        evict = f"--kv-evict={option}"
        alone = [generate(ferrite, artifact, [prompt], evict, *common) for prompt in prompts]
        for prompt, answer in zip(prompts, alone):
            tokens, scores = simulate(np.array(prompt), policy, 64, TEXT)
            got, logprobs = of(answer)[0]
            alike = next((i for i, (a, b) in enumerate(zip(tokens, got)) if a != b), TEXT)
            logprobs = np.array([p["logprob"] if isinstance(p, dict) else p for p in logprobs])
            error = np.abs(logprobs - scores)[:alike].max()
            add(alike == TEXT and error < 1e-3, f"{option} of {len(prompt)}", f"{alike} tokens alike, {error:.1e}")
        far = of(dense)[0][0] != of(alone[0])[0][0]
        add(far and alone[0]["stats"]["evictions"] > 0, f"{option} differs from all")
        want = [of(answer)[0] for answer in alone]
        add(of(generate(ferrite, artifact, prompts, evict, *common)) == want, f"{option} in company")
        for chunk in (37, 64):
            add(of(generate(ferrite, artifact, prompts, evict, f"--step-tokens={chunk}", *common)) == want, f"{option} in chunks of {chunk}")
        tight = generate(ferrite, artifact, prompts, evict, "--cache-pages=8", *common)
        add(of(tight) == want, f"{option} with few pages", f"{tight['stats']['preemptions'] if isinstance(tight, dict) else tight} preemptions")
        two = generate(ferrite, artifact, prompts[:1], evict, "--samples=2", *common)
        add(of(two) == [want[0]] * 2, f"{option} twice")
        twice = generate(ferrite, artifact, [prompts[0]] * 2, evict, "--step-tokens=200", *common)
        shared = twice["stats"]["shared_tokens"]
        add(of(twice) == [want[0]] * 2 and (shared > 0) == (policy[0] == "snapkv"), f"{option} of equal prompts", f"{shared} shared")
        for kv, more in (("int8", "weigh"), ("int4", "weigh"), ("bf16", "weigh"), ("f32", "quest:0.5,layers=0-1;weigh")):
            other = compiled(f"more-{kv}-{len(more)}", f"--sparsify={more}", f"--kv={kv}") if more != "weigh" else compiled(f"weigh-{kv}")
            first = generate(ferrite, other, prompts, evict, *common)
            # Of runs of 16 tokens and fewer quest chooses, so there chunks count.
            again = ["--step-tokens=64"] if more == "weigh" else ["--no-draft"]
            # And of what h2o keeps here it reads all.
            differs = more == "weigh" or policy[0] == "snapkv"
            first, second = of(first), of(generate(ferrite, other, prompts, evict, *again, *common))
            add(first == second and (first != want) == differs, f"{option}, {kv}, {more}")
    done = subprocess.run([ferrite, "generate", artifact, "--bench", "--kv-evict=snapkv:64+16", "--prompt-ids", ",".join(map(str, prompts[0]))],
                          capture_output=True, text=True)
    add("evicted 220 tokens of each head in 1 goes" in done.stderr, "bench", done.stderr.strip()[-90:])
    long = generate(ferrite, artifact, prompts[2:], "--kv-evict=h2o:40+24", "--max-tokens=900", "--cache-pages=3")
    add(isinstance(long, dict) and len(of(long)[0][0]) == 900 and long["stats"]["evictions"] > 10, "900 tokens in 3 pages", f"{long['stats']['evictions'] if isinstance(long, dict) else long} evictions")
    for option, word in REFUSED:
        code, text = generate(ferrite, artifact, prompts[:1], f"--kv-evict={option}", *common)
        add(code == 1 and word in text, f"no {option}", text.strip()[-90:])
    for name, options, word in (
            ("beams of h2o", ["--kv-evict=h2o:40+24", "--beams=2"], "beams"),
            ("guesses of h2o", ["--kv-evict=h2o:40+24", "--lookup"], "speculation")):
        code, text = generate(ferrite, artifact, prompts[:1], *options)
        add(code == 1 and word in text, name, text.strip()[-90:])
    code, text = generate(ferrite, compiled("plain"), prompts[:1], "--kv-evict=h2o:40+24")
    add(code == 2 and "--sparsify=weigh" in text, "a step that tells nothing", text.strip()[-90:])
    beams = generate(ferrite, artifact, prompts[:1], "--kv-evict=snapkv:64+16", "--beams=3", "--max-tokens=20")
    add(isinstance(beams, dict) and beams["stats"]["evictions"] == 1, "beams behind snapkv")
    guessed = generate(ferrite, artifact, prompts[:1], "--kv-evict=snapkv:64+16", "--lookup", *common)
    add(of(guessed) == [of(generate(ferrite, artifact, prompts[:1], "--kv-evict=snapkv:64+16", *common))[0]], "guesses behind snapkv")
    for spec, word in (("weigh:3", "takes no"), ("weigh:layers=1", "layers"), ("weigh;weigh", "twice"), ("window:64;weigh", "window")):
        done = subprocess.run([ferrite, "compile", model, "-o", folder / "no.so", "--quiet", f"--sparsify={spec}"],
                              capture_output=True, text=True)
        add(done.returncode in (1, 2) and word in done.stderr and not (folder / "no.so").exists(), f"no {spec}", done.stderr.strip()[-90:])


class Options(ctypes.Structure):
    """FerriteGeneratorOptions."""
    _fields_ = [("size", c_size_t), ("entry", c_char_p), ("threads", c_int32), ("step_tokens", c_int32),
                ("streams", c_int32), ("draft_tokens", c_int32), ("max_tokens", c_int64), ("cache_pages", c_int64),
                ("draft", c_void_p), ("draft_entry", c_char_p), ("no_sharing", c_int32), ("draft_width", c_int32),
                ("window_tokens", c_int64), ("sink_tokens", c_int64), ("encoders", c_void_p),
                ("encoder_count", c_size_t), ("device", c_char_p), ("kv_evict", c_char_p)]


class Event(ctypes.Structure):
    """FerriteTokenEvent."""
    _fields_ = [("request", c_void_p), ("sample", c_int32), ("finish", c_int32), ("token", c_int64),
                ("index", c_int64), ("logprob", c_float), ("logprob_count", c_int32), ("logprobs", c_void_p)]


OnToken = ctypes.CFUNCTYPE(c_int32, c_void_p, ctypes.POINTER(Event))
MaskLogits = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_int32, c_void_p, c_size_t, c_size_t,
                              ctypes.POINTER(c_float), c_int64)


class Request(ctypes.Structure):
    """FerriteRequestOptions."""
    _fields_ = [("size", c_size_t), ("prompt", c_void_p), ("prompt_tokens", c_size_t), ("max_tokens", c_int64),
                ("sampling", c_void_p), ("stop_tokens", c_void_p), ("stop_token_count", c_size_t),
                ("stop_strings", c_void_p), ("stop_string_count", c_size_t), ("detokenize", c_void_p),
                ("detokenize_data", c_void_p), ("on_token", OnToken), ("on_token_data", c_void_p),
                ("mask_logits", MaskLogits), ("mask_logits_data", c_void_p), ("samples", c_int32), ("beams", c_int32),
                ("length_penalty", c_float), ("early_stopping", c_int32), ("logprobs", c_int32), ("speculation", c_int32),
                ("source", c_void_p), ("source_count", c_size_t), ("leave_out", ctypes.c_uint64)]


def surprise(folder, artifact, ids, prompt, evict):
    """The mean of -log of the probabilities of the tokens behind the first `prompt`."""
    runtime = ctypes.CDLL(str(folder / "libferrite_rt.so"), ctypes.RTLD_GLOBAL)
    api = ctypes.CDLL(str(folder / "libferrite_generate.so"))
    error = Error()

    def call(of, name, *arguments):
        if getattr(of, name)(*arguments, ctypes.byref(error)):
            raise RuntimeError(f"{name}: {error.message.decode()}")

    model, generator, request = c_void_p(), c_void_p(), c_void_p()
    call(runtime, "ferriteModelLoadFile", str(artifact).encode(), None, ctypes.byref(model))
    options = Options(size=ctypes.sizeof(Options), threads=2, streams=1, kv_evict=evict.encode() if evict else None)
    call(api, "ferriteGeneratorCreate", model, ctypes.byref(options), ctypes.byref(generator))
    scores, given = [], np.ascontiguousarray(ids, np.int64)

    def on_token(_, event):
        scores.append(-event.contents.logprob)
        return 0

    def mask(_data, _request, _sample, _tokens, count, _prompt, logits, vocabulary):
        row = np.ctypeslib.as_array(logits, (vocabulary,))
        row[np.arange(vocabulary) != given[count]] = -np.inf  # no other token can follow

    calls = OnToken(on_token), MaskLogits(mask)
    wanted = Request(size=ctypes.sizeof(Request), prompt=given.ctypes.data, prompt_tokens=prompt,
                     max_tokens=len(given) - prompt, on_token=calls[0], mask_logits=calls[1], logprobs=1)
    call(api, "ferriteGeneratorSubmit", generator, ctypes.byref(wanted), ctypes.byref(request))
    call(api, "ferriteGeneratorRun", generator)
    assert len(scores) == len(given) - prompt
    api.ferriteRequestRelease.argtypes = api.ferriteGeneratorDestroy.argtypes = [c_void_p]
    runtime.ferriteModelRelease.argtypes = [c_void_p]
    api.ferriteRequestRelease(request)
    api.ferriteGeneratorDestroy(generator)
    runtime.ferriteModelRelease(model)
    return np.mean(scores)


def tinycode(ferrite, folder, root, policies, add):
    ids = np.load(root / "valid.npy").astype(np.int64).reshape(-1)
    windows = [ids[i * 2048:i * 2048 + 1536] for i in range(5)]
    artifact = folder / "model.so"
    execute(ferrite, "compile", root / "target" / "model.onnx", "-o", artifact, "--cpu=native", "--quiet",
            "--sparsify=weigh", limit=600)
    dense = None
    for policy in ["", *policies]:
        found = np.exp(np.mean([surprise(ferrite.parent.parent / "lib", artifact, w, 1024, policy) for w in windows]))
        dense = dense or found
        add(np.isfinite(found), policy or "all", f"perplexity {found:.4f}, {100 * (found / dense - 1):+.2f} %")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ferrite", type=pathlib.Path)
    parser.add_argument("--tinycode", type=pathlib.Path)
    parser.add_argument("--policies", default="snapkv:480+32,snapkv:224+32,h2o:256+256,h2o:128+128,streaming:64+448,streaming:64+192")
    args = parser.parse_args()
    ferrite = args.ferrite.resolve()
    library = str(ferrite.parent.parent / "lib" / "libferrite_rt.so")
    results = Results()
    add = results.add

    with tempfile.TemporaryDirectory(prefix="ferrite-evict-") as folder:
        if args.tinycode:
            tinycode(ferrite, pathlib.Path(folder), args.tinycode, args.policies.split(","), add)
        else:
            small(ferrite, library, pathlib.Path(folder), add)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
