#!/usr/bin/env python3
"""Lets every decoder of test/models write, and compares with ONNX Runtime's texts.

    run_decoders.py FERRITE [--only SUBSTRING] [--models FOLDER] [--jobs N]

FERRITE is the program. Checks for each export, against decoders.json:

  greedy     200 tokens, and with a penalty for repeating
  company    the same texts beside others, prompts in chunks of 7 tokens, with so few
             pages that texts are preempted, and with tokens guessed ahead
  samples    random texts are the same alone, in company and with guesses
  beams      run, and the best is no less likely than the greedy text

Where the reference's two best logits are closer than 1e-4 a text is compared up to its
first difference only. Exports of DECODERLESS are known to get no step entry, with the
reason; one that gets one fails. The last line is "N passed, N failed".
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

HERE = pathlib.Path(__file__).resolve().parent
CLOSE = 1e-4

# family or export: why it keeps the ONNX-shaped entry alone
DECODERLESS = {}


class Failed(Exception):
    pass


def execute(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise Failed(f"exit {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


class Program:
    def __init__(self, program, artifact):
        self.program, self.artifact = program, artifact

    def texts(self, prompts, *options):
        lists = [w for p in prompts for w in ("--prompt-ids", ",".join(map(str, p)))]
        answer = json.loads(execute(self.program, "generate", self.artifact, "--json",
                                    "--threads", 2, *lists, *options))
        return [[s["tokens"] for s in t["samples"]] for t in answer["texts"]], answer


def compare(got, reference):
    want = reference["tokens"]
    if got == want:
        return
    at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
    if reference["gap"] < CLOSE and len(got) == len(want):
        return
    raise Failed(f"{len(got)} tokens of {len(want)}, the first difference at {at}: "
                 f"{got[at:at + 4]}, not {want[at:at + 4]}")


def check_greedy(decoder, row):
    for kind, options in (("greedy", ()), ("penalty", ("--frequency-penalty", 2))):
        count = len(row[kind]["tokens"])
        [[text]], _ = decoder.texts([row["prompt"]], "--max-tokens", count, *options)
        compare(text, row[kind])


def check_company(decoder, row):
    count = len(row["penalty"]["tokens"])
    # As many positions as the reference had: some models have no more.
    penalty = ("--frequency-penalty", 2, "--max-tokens", count,
               "--context", len(row["prompt"]) + count - 1)
    prompt = row["prompt"]
    prompts = [prompt, prompt[5:], prompt + prompt[:9], prompt[:1], prompt]
    alone = [decoder.texts([p], *penalty)[0][0] for p in prompts]
    for options in ((), ("--step-tokens", 7), ("--cache-pages", 6), ("--lookup",),
                    ("--draft", decoder.artifact, "--step-tokens", 40)):
        texts, answer = decoder.texts(prompts, *penalty, *options)
        if texts != alone:
            raise Failed(f"with {options} texts differ from those alone")
        if "--cache-pages" in options and count > 100 and not answer["stats"]["preemptions"]:
            raise Failed("nothing was preempted")
        if "--draft" in options and count > 100 and not answer["stats"]["accepted_tokens"]:
            raise Failed("no guess of the model itself was right")


def check_samples(decoder, row):
    options = ("--temperature", 0.9, "--top-p", 0.95, "--seed", 3, "--samples", 3,
               "--max-tokens", 24)
    prompt = row["prompt"]
    alone, _ = decoder.texts([prompt], *options)
    if len({tuple(t) for t in alone[0]}) == 1 and row["greedy"]["gap"] < 0.1:
        raise Failed("three samples are the same")
    for more in (("--lookup",), ("--draft", decoder.artifact), ("--step-tokens", 5)):
        both, _ = decoder.texts([prompt, prompt[3:]], *options, *more)
        if both[0] != alone[0]:
            raise Failed(f"with {more} samples differ from those alone")


def check_beams(decoder, row):
    [[greedy]], answer = decoder.texts([row["prompt"]], "--max-tokens", 12, "--logprobs", 1)
    likely = sum(answer["texts"][0]["samples"][0]["logprobs"])
    [beams], answer = decoder.texts([row["prompt"]], "--max-tokens", 12, "--beams", 4,
                                    "--samples", 4)
    scores = [s["score"] for s in answer["texts"][0]["samples"]]
    if len({tuple(b) for b in beams}) != 4 or scores != sorted(scores, reverse=True):
        raise Failed(f"beams {beams} with scores {scores}")
    # Beam search may lose the greedy text, but never for a worse one at the end
    # unless it was dropped on the way: allow what one step can cost.
    if scores[0] < likely - 1:
        raise Failed(f"the best beam has {scores[0]}, the greedy text {likely}")


def check_model(program, path, row, folder):
    """Lines of the report, and how many checks passed and failed."""
    name = path.stem
    reason = DECODERLESS.get(name) or DECODERLESS.get(name.split(".")[0])
    artifact = pathlib.Path(folder) / f"{name}.so"
    lines, passed, failed = [], 0, 0
    try:
        execute(program, "compile", path, "-o", artifact, "--quiet", "--cpu=native")
        decoder = Program(program, artifact)
        if reason and "entry step" not in execute(program, "inspect", artifact):
            return [f"SKIP {name}: {reason}"], 0, 0
        if reason:
            raise Failed("it is in DECODERLESS, but has a step entry")
    except Failed as error:
        return [f"FAIL {name}: {error}"], 0, 1
    for check in (check_greedy, check_company, check_samples, check_beams):
        what = f"{name} {check.__name__[6:]}"
        try:
            check(decoder, row)
        except (Failed, subprocess.TimeoutExpired, KeyError) as error:
            failed += 1
            lines.append(f"FAIL {what}: {error}")
        else:
            passed += 1
            lines.append(f"PASS {what}")
    artifact.unlink(missing_ok=True)
    return lines, passed, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ferrite", type=pathlib.Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--models", type=pathlib.Path, default=HERE.parent / "models")
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    rows = json.loads((HERE / "decoders.json").read_text())
    paths = [p for p in sorted(args.models.glob("*-kv.*.onnx"))
             if p.name.split(".")[0] in rows and args.only in p.name]
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="ferrite-decoders-") as folder, \
            ThreadPoolExecutor(args.jobs) as pool:
        for lines, good, bad in pool.map(
                lambda p: check_model(args.ferrite.resolve(), p, rows[p.name.split(".")[0]],
                                      folder), paths):
            print("\n".join(lines), flush=True)
            passed, failed = passed + good, failed + bad
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
