#!/usr/bin/env python3
"""Compiles the decoders with a cache of test/models and checks their step entries.

    run_steps.py FERRITE [--only SUBSTRING] [--models FOLDER] [--threads N] [--no-exceptions]

FERRITE is the program; the runtime library is taken from ../lib beside it. Pages are
filled from the past tensors of the references that run_e2e.py uses (tokens of padding
are left out: a step has none), and four things are checked:

  entry      the model has a step
  reference  logits of each real token against PyTorch's, and the rows appended to
             the caches against PyTorch's present
  bits       a sequence alone, among others, in two chunks, with other page numbers,
             and with one thread more: the same bits; logits of some tokens alone as
             of all
  tree       tokens that see a subset of their run give what a run of that subset gives

A windowed attention counts padding between tokens in the ONNX graph, so rows of such
models whose past has padding inside are left out. steps-exceptions.txt lists the models
that have no step yet, with the reason; one that has one fails the run.
"""
import argparse
import pathlib
import sys
import tempfile

import numpy as np

from run_e2e import Failed, execute, relative_error
from steps import Sequence, Step
from tables import TOLERANCE, kind_of

HERE = pathlib.Path(__file__).resolve().parent
PAGES = 64


WINDOW, CAPACITY = 16, 24  # of test/models/references/windowed.py


class Buffers:
    """Where the caches of a family have the token of each position: as they come."""

    def __init__(self, family):
        self.form = family.removeprefix("llama-")
        self.window = WINDOW if self.form in ("circular", "ring", "windowed") else None

    def places(self, total):
        """Of the positions before `total`, -1 where they are gone."""
        positions = np.arange(total)
        if self.form == "windowed":
            group = CAPACITY - WINDOW + 1
            gone = 0 if total <= CAPACITY else group * -(-(total - CAPACITY) // group)
            return np.where(positions < gone, -1, positions - gone)
        if self.window:
            return np.where(positions < total - WINDOW, -1, positions % WINDOW)
        return positions

    def unrolled(self, rows, total, gone):
        """[heads, total, width]; `gone` where a position is."""
        places = self.places(total)
        return np.where((places < 0)[:, None], np.float32(gone), rows[:, places])


class Case:
    """The rows of one reference, without padding."""

    def __init__(self, path):
        with np.load(path) as file:
            self.data = {name: file[name] for name in file.files
                         if not (path.stem.endswith("-first") and ".past_" in name)}
        reads_source = "in.decoder_input_ids" in self.data
        ids = self.data["in.decoder_input_ids" if reads_source else "in.input_ids"]
        count, mask = ids.shape[1], None if reads_source else self.data.get("in.attention_mask")
        self.rows, self.buffers = [], Buffers(path.name.split(".")[0])
        for row in range(len(ids)):
            if self.buffers.form == "ring":  # whose write_indices are places
                past = int(self.data["in.position_ids"][row, 0])
            elif "in.write_indices" in self.data:  # buffers, whose rows lie at the front
                past = int(self.data["in.write_indices"][row])
            elif "in.cache_position" in self.data:
                past = int(self.data["in.cache_position"][0])
            else:
                past = self.past() if mask is None else mask.shape[1] - count
            real = np.flatnonzero(np.ones(past + count) if mask is None else mask[row])
            old, new = real[real < past], real[real >= past] - past
            if not past and len(new) and new[0] and not self.has_past():
                continue  # such a graph counts padding before a token as places
            if len(new):
                self.rows.append(Row(self.data, ids, row, old, new, past, self.buffers))

    def has_past(self):
        return any(name.startswith("in.past_") for name in self.data)

    def past(self):
        own = [v for n, v in self.data.items() if n.startswith("in.past_") and ".encoder." not in n]
        return own[0].shape[-2] if own else 0


class Row:
    def __init__(self, data, ids, row, old, new, past, buffers):
        self.data, self.row, self.old, self.new, self.past = data, row, old, new, past
        self.buffers = buffers
        self.ids = ids[row][new]
        self.inside = len(old) and int(old[-1] - old[0] + 1) != len(old) or len(old) and len(
            new) and old[-1] + 1 != past
        if "in.position_ids" in data:
            self.positions = data["in.position_ids"][row][new]
        else:
            self.positions = len(old) + np.arange(len(new))
        self.logits = data["out.logits"][row][new]

    def given(self, state):
        """What the reference has for a state: [heads, tokens, width]."""
        array = self.data.get("in." + state.name.decode())
        if array is None:
            return None
        return array[state.kind][self.row] if array.ndim == 5 else array[self.row]

    def source(self, step):
        """A sequence of the encoder's keys and values, as given or encoded."""
        if not step.has_source:
            return None
        mask = self.data.get("in.encoder_attention_mask", self.data.get("in.attention_mask"))
        real = slice(None) if mask is None else np.flatnonzero(mask[self.row])
        states = [(i, s) for i, s in enumerate(step.states) if s.group == 1]
        if self.given(states[0][1]) is not None:
            source = Sequence()
            for i, state in states:
                rows = self.given(state)[:, real].transpose(1, 0, 2)
                step.write(source, i, rows)
            source.length = len(rows)
            return source
        inputs = {}
        for name in step.inputs("encode"):
            array = self.data["in." + name][self.row:self.row + 1]
            by_token = array.ndim == 2 or name == "encoder_hidden_states"
            inputs[name] = np.ascontiguousarray(array[:, real] if by_token else array)
        return step.encode(inputs)

    def start(self, step):
        """A sequence with the past in its pages."""
        sequence = Sequence(self.source(step))
        for i, state in enumerate(step.states):
            past = None if state.group == 1 else self.given(state)
            if past is not None and self.buffers.window:
                past = self.buffers.unrolled(past, self.past, gone=1e3)
            if past is not None:
                step.write(sequence, i, past[:, self.old].transpose(1, 0, 2))
        sequence.length = len(self.old)
        return sequence

    def run(self, step, sequence, begin=0, end=None):
        return sequence, self.ids[begin:end], self.positions[begin:end]

    def present(self, state, own):
        """What the reference says of new rows: [tokens, heads, width], or None. `own` is
        the number of the state among those of the sequence."""
        stacked = self.data.get(f"out.present_{state.layer}")
        names = [n for n in self.data if n.startswith("out.present") and ".encoder." not in n]
        if not names:
            return None
        array = self.data[names[own]] if stacked is None else stacked[state.kind]
        if self.buffers.window:
            whole = self.buffers.unrolled(array[self.row], self.past + len(self.new), np.nan)
            return whole[:, self.past + self.new].transpose(1, 0, 2)
        return array[self.row][:, self.past + self.new].transpose(1, 0, 2)


def compare(step, rows, results, sequences, limit):
    """The worst errors of logits and of appended rows."""
    worst = appended = 0.0
    for row, logits, sequence in zip(rows, results, sequences):
        worst = max(worst, relative_error(logits, row.logits))
        own = [i for i, state in enumerate(step.states) if state.group != 1]
        # As the model has them, whatever window a layer has.
        own.sort(key=lambda i: (step.states[i].layer, step.states[i].kind))
        for number, i in enumerate(own):
            want = row.present(step.states[i], number)
            if want is None:
                continue
            got = step.read(sequence, i, len(row.old), len(row.new))
            appended = max(appended, relative_error(got, want))
    return worst, appended


def split(logits, rows):
    return np.split(logits, np.cumsum([len(row.new) for row in rows])[:-1])


def check_bits(make, rows, want):
    """Yields (what, whether the bits are the same)."""
    step = make(threads=1, fill=0x7F)
    alone = []
    for row in rows:
        sequence = row.start(step)
        alone.append(step.run([row.run(step, sequence)]))
    yield "alone", all(np.array_equal(a, b) for a, b in zip(alone, want))
    step.close()

    step = make(threads=2, fill=0xFF)
    step.free.reverse()  # other pages
    sequences = [row.start(step) for row in reversed(rows)]
    order = list(reversed(rows))
    first, second = [], []
    for row, sequence in zip(order, sequences):
        half = len(row.new) // 2
        first.append(half)
        second.append(sequence)
    runs = [row.run(step, s, 0, h) for row, s, h in zip(order, sequences, first) if h]
    parts = [[] for _ in order]
    if runs:
        logits = step.run(runs)
        at = 0
        for i, half in enumerate(first):
            parts[i].append(logits[at:at + half])
            at += half
    logits = step.run([row.run(step, s, h) for row, s, h in zip(order, sequences, first)])
    at = 0
    for i, row in enumerate(order):
        rest = len(row.new) - first[i]
        parts[i].append(logits[at:at + rest])
        at += rest
    chunked = [np.concatenate(p) for p in parts][::-1]
    yield "chunked", all(np.array_equal(a, b) for a, b in zip(chunked, want))
    step.close()

    step = make(threads=1)
    sequences = [row.start(step) for row in rows]
    whole = np.concatenate(want)
    some = list(range(0, len(whole), 2))[::-1]
    logits = step.run([row.run(step, s) for row, s in zip(rows, sequences)], some)
    yield "some logits", np.array_equal(logits, whole[some])
    sequences = [row.start(step) for row in rows]
    none = step.run([row.run(step, s) for row, s in zip(rows, sequences)], [])
    yield "no logits", none.shape == (0, whole.shape[1])
    step.close()


def check_tree(make, row):
    """Tokens 1 and 2 of the run are two ways on from token 0."""
    if len(row.ids) < 3:
        return None
    at = int(row.positions[0])
    step = make(threads=1)
    sequence = row.start(step)
    tree = step.run([(sequence, row.ids[:3], [at, at + 1, at + 1], [0b1, 0b11, 0b101])])
    want = []
    for way in ([0, 1], [0, 2]):
        sequence = row.start(step)
        want.append(step.run([(sequence, row.ids[way], [at, at + 1])]))
    step.close()
    return np.array_equal(tree[:2], want[0]) and np.array_equal(tree[2], want[1][1])


def check_chunks(make, ids, window):
    """A graph of one token a call has a step of any number, and a cache as long as a window
    is one: all tokens at once, one by one, and with pages behind the window gone."""
    answers = []
    for size in (len(ids), 1):
        step = make(threads=2, fill=0xFF)
        sequence, logits = Sequence(), []
        for at in range(0, len(ids), size):
            part = np.arange(at, at + size)
            logits.append(step.run([(sequence, ids[part], part)]))
            for page in range(max(0, at + size - (window or at + size)) // PAGES):
                if window and sequence.pages[page] >= 0:  # nothing may read it again
                    for index in range(len(step.states)):
                        step.pool(index)[sequence.pages[page]] = np.nan
        answers.append(np.concatenate(logits))
        right = all(state.window == (window or -1) for state in step.states)
        step.close()
    return right and np.isfinite(answers[0]).all() and np.array_equal(*answers)


def read_exceptions():
    known = {}
    for line in (HERE / "steps-exceptions.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, reason = line.split(None, 1)
            known[name] = reason
    return known


def is_decoder(path, folder):
    """A decoder with a past or a source; of those without one export each."""
    name = path.name
    family, export = name.split(".")[:2]
    if any(word in family for word in ("-kv", "-genai", "-merged", "-static", "-placed", "-stacked",
                                       "-masked", "-circular", "-ring", "-windowed", "-decoder")):
        return True
    if family in ("t5-both", "bart-both", "whisper-both"):
        return True
    return export.startswith("dynamo-20") and any(folder.glob(f"{family}-kv.*.onnx"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ferrite", type=pathlib.Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--models", type=pathlib.Path, default=HERE.parent / "models")
    parser.add_argument("--no-exceptions", action="store_true")
    args = parser.parse_args()
    library = args.ferrite.resolve().parent.parent / "lib" / "libferrite_rt.so"
    known = {} if args.no_exceptions else read_exceptions()
    failed, passed = [], 0

    def add(ok, what, detail=""):
        nonlocal passed
        passed += bool(ok)
        if not ok:
            failed.append(what)
        print("PASS" if ok else "FAIL", f"{what:44s}", detail, flush=True)

    sources = sorted(p for p in args.models.glob("*.onnx")
                     if is_decoder(p, args.models) and args.only in p.name)
    if not sources:
        parser.error("no such model")
    for source in sources:
        name = source.name[:-len(".onnx")]
        with tempfile.TemporaryDirectory() as scratch:
            artifact = pathlib.Path(scratch) / "model.so"
            try:
                execute(args.ferrite, "compile", source, "-o", artifact, "--cpu=native",
                        "--quiet", limit=300)
                make = lambda **options: Step(str(library), artifact, PAGES, **options)
                try:
                    make().close()
                except KeyError:
                    if name in known:
                        print("XFAIL", f"{name:43s}", known[name], flush=True)
                    else:
                        add(False, f"{name} entry", "no step")
                    continue
                add(name not in known, f"{name} entry")
                check_model(name, make, add)
            except (Failed, RuntimeError) as problem:
                add(False, name, str(problem))
    print(f"{passed} passed, {len(failed)} failed")
    for what in failed:
        print("  failed:", what)
    return bool(failed)


def check_model(name, make, add):
    family = name.split(".")[0]
    limit = TOLERANCE[kind_of(family)]
    for path in sorted(HERE.glob(f"{family}.*.npz")):
        if path.name.endswith("-then.npz"):
            continue  # of the other branch of a merged decoder
        if family == "bart-both" and "-left" in path.name:
            continue  # its encoder counts padding before a token as places
        case, label = Case(path), f"{name} {path.name[len(family) + 1:-len('.npz')]}"
        step = make(threads=1, fill=0xFF)
        windowed = any(state.window >= 0 for state in step.states)
        rows = [row for row in case.rows if not (windowed and row.inside)]
        if not rows:
            step.close()
            continue
        sequences = [row.start(step) for row in rows]
        logits = step.run([row.run(step, s) for row, s in zip(rows, sequences)])
        want = split(logits, rows)
        worst, appended = compare(step, rows, want, sequences, limit)
        step.close()
        add(worst <= limit and appended <= limit, f"{label} reference",
            f"logits {worst:.1e}, rows {appended:.1e}")
        wrong = [what for what, same in check_bits(make, rows, want) if not same]
        add(not wrong, f"{label} bits", ", ".join(wrong))
        tree = check_tree(make, rows[0])
        if tree is not None:
            add(tree, f"{label} tree")
    buffers = Buffers(family)
    if buffers.window or buffers.form == "masked":
        ids = np.random.default_rng(0).integers(3, 101, 150)
        add(check_chunks(make, ids, buffers.window), f"{name} chunks of a text")


if __name__ == "__main__":
    sys.exit(main())
