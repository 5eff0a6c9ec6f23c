#!/usr/bin/env python3
"""Checks what pages of keys and values hold (compile --kv) against the formats in NumPy.

    run_kv.py FERRITE
    run_kv.py FERRITE --tinycode DIR     # perplexity of a trained model: minutes

FERRITE is the program; the runtime library is taken from ../lib beside it. Makes a decoder of
two layers, whose heads have 64 numbers, compiles it with each --kv and checks

  records   of the first layer, whose rows no cache touches: the bytes in the pages are those
            that NumPy makes of the rows in pages of f32
  logits    against the decoder in NumPy (f64) with keys and values rounded like that; nearer
            to it than unrounded ones are
  sums      of the first layer (--step-with=lse:0), against NumPy; the second gives none
  chunks    prefill, tokens one by one and another sequence beside: the same bits
  mixed     caches of bytes with f16 for the first and the last tokens (f16-sinks, f16-recent):
            all of that, on 700 tokens; besides, the pages in between may be gone, and a way
            through a tree has the bits of the same text without the rest of the tree

and that formats which cannot be had are refused. DIR of tinycode holds target/model.onnx
and valid.npy: perplexity of the first 24 windows of 512 tokens through the step, against pages of
f32. Prints "N passed, N failed".
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import helper, numpy_helper

from run_e2e import Results, execute, relative_error
from steps import PAGE, Sequence, Step

LAYERS, WORDS, PLACES, HIDDEN, HEADS, KEY_HEADS = 2, 50, 256, 96, 4, 2
COUNT = 150  # tokens: three pages
FORMATS = ("f32", "f16", "bf16", "int8", "int4")
MIXED = ("int4,f16-sinks=4,f16-recent=64", "int8,f16-recent=100", "int4,f16-sinks=70",
         "int4,f16-sinks=600,f16-recent=64")
MIXED_COUNT = 700  # tokens: two blocks of 512
REFUSED = [  # of heads of what size, the option, the exit code, and a word of the message
    (64, "int5", 1, "int5"),
    (64, "f16,f16-sinks=4", 1, "int8 or int4"),
    (64, "int4,f16-recent=63", 1, "from 64 on"),
    (64, "int4,f16-sinks=0", 1, "f16-sinks=0"),
    (64, "int4,f16-sinks=4,f16-sinks=4", 1, "each once"),
    (64, "int4,f16-middle=4", 1, "f16-middle=4"),
    (48, "int4", 2, "multiples of 32"),
]


def weights(size):
    rng = np.random.default_rng(7)

    def make(*shape, scale=None):
        return (rng.standard_normal(shape) * (scale or shape[0] ** -0.5)).astype(np.float32)

    result = {"words": make(WORDS, HIDDEN, scale=1), "places": make(PLACES, HIDDEN, scale=1),
              "head": make(HIDDEN, WORDS)}
    for i in range(LAYERS):
        for name, heads in (("q", HEADS), ("k", KEY_HEADS), ("v", KEY_HEADS)):
            result[f"{name}{i}"] = make(HIDDEN, heads * size)
        result[f"o{i}"] = make(HEADS * size, HIDDEN)
    return result


def write_model(path, size):
    """The decoder as exporters write one: opset 23, a past and a present for each layer."""
    nodes, inputs, outputs = [], [], []

    def node(op, names, result, **attributes):
        nodes.append(helper.make_node(op, names, result, f"/{result[0]}", **attributes))

    def value(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    node("Gather", ["words", "input_ids"], ["e"])
    node("Gather", ["places", "position_ids"], ["p"])
    node("Add", ["e", "p"], ["x0"])
    for i in range(LAYERS):
        past = [f"past_key_values.{i}.{kind}" for kind in ("key", "value")]
        present = [f"present.{i}.{kind}" for kind in ("key", "value")]
        for name in "qkv":
            node("MatMul", [f"x{i}", f"{name}{i}"], [f"{name}rows{i}"])
        node("Attention", [f"qrows{i}", f"krows{i}", f"vrows{i}", "", *past],
             [f"a{i}", *present], is_causal=1, q_num_heads=HEADS, kv_num_heads=KEY_HEADS)
        node("MatMul", [f"a{i}", f"o{i}"], [f"m{i}"])
        node("Tanh", [f"m{i}"], [f"t{i}"])
        node("Add", [f"x{i}", f"t{i}"], [f"x{i + 1}"])
        for name, total in [(n, "past_sequence") for n in past] + [(n, "total") for n in present]:
            (inputs if name in past else outputs).append(
                value(name, onnx.TensorProto.FLOAT, ["batch", KEY_HEADS, total, size]))
    node("MatMul", [f"x{LAYERS}", "head"], ["logits"])
    ids = [value(name, onnx.TensorProto.INT64, ["batch", "sequence"])
           for name in ("input_ids", "position_ids")]
    logits = value("logits", onnx.TensorProto.FLOAT, ["batch", "sequence", WORDS])
    graph = helper.make_graph(
        nodes, "decoder", ids + inputs, [logits] + outputs,
        [numpy_helper.from_array(array, name) for name, array in weights(size).items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)],
                                ir_version=10), path)


def to_bf16(x):
    """To the nearest bfloat16, halves to even."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def encode8(x):
    """Codes, and a scale for each head of a token, of rows [..., size]."""
    x = x.astype(np.float32)
    scale = np.abs(x).max(-1, keepdims=True) / np.float32(127)
    codes = np.clip(np.rint(x / np.where(scale == 0, np.float32(1), scale)), -127, 127)
    return codes.astype(np.int8), scale


def encode4(x):
    """Codes [..., groups, 32], scales and least numbers of groups."""
    x = x.astype(np.float32).reshape(*x.shape[:-1], -1, 32)
    least = to_bf16(x.min(-1, keepdims=True))
    scale = to_bf16((x.max(-1, keepdims=True) - least) / np.float32(15))
    codes = np.clip(np.rint((x - least) / np.where(scale > 0, scale, np.float32(1))), 0, 15)
    return codes.astype(np.uint8), scale, least


def as_bytes(kind, x):
    """The bytes that pages hold of rows [..., size]."""
    if kind == "int8":
        codes, scale = encode8(x)
        return np.concatenate([codes.view(np.uint8), scale.view(np.uint8)], -1)
    if kind == "int4":
        codes, *both = encode4(x)
        both = [(b.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8) for b in both]
        records = np.concatenate([codes[..., :16] | codes[..., 16:] << 4, *both], -1)
        return records.reshape(*x.shape[:-1], -1)
    if kind == "bf16":
        return (to_bf16(x).view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    return x.astype(np.float16 if kind == "f16" else np.float32).view(np.uint8)


def rounded(kind, x):
    if kind == "int8":
        codes, scale = encode8(x)
        return codes.astype(np.float64) * scale
    if kind == "int4":
        codes, scale, least = encode4(x)
        return (codes.astype(np.float64) * scale + least).reshape(x.shape)
    if kind == "bf16":
        return to_bf16(x).astype(np.float64)
    return x.astype({"f16": np.float16, "f32": np.float32}[kind]).astype(np.float64)


def reference(kind, ids, size):
    """Logits of the decoder in f64, and the log-sum-exps of the first layer."""
    kind, *near = kind.split(",")
    near = {name: int(number) for name, number in (item.split("=") for item in near)}
    w = {name: array.astype(np.float64) for name, array in weights(size).items()}
    count, at = len(ids), np.arange(len(ids))
    x = w["words"][ids] + w["places"][at]
    isF16 = (at < near.get("f16-sinks", 0)) | (at[:, None] - at < near.get("f16-recent", 0))
    for i in range(LAYERS):
        q, k, v = ((x @ w[f"{n}{i}"]).reshape(count, -1, size).transpose(1, 0, 2) for n in "qkv")
        k16, v16, k, v = (np.repeat(rounded(of, rows), HEADS // KEY_HEADS, 0)
                          for of in ("f16", kind) for rows in (k, v))
        z, z16 = (q @ keys.transpose(0, 2, 1) * size ** -0.5 for keys in (k, k16))
        z = np.where(at[:, None] >= at, np.where(isF16, z16, z), -np.inf)
        p = np.exp(z - z.max(-1, keepdims=True))
        p = p / p.sum(-1, keepdims=True)
        a = np.where(isF16, 0, p) @ v + np.where(isF16, p, 0) @ v16
        if i == 0:
            sums = (z.max(-1) + np.log(np.exp(z - z.max(-1, keepdims=True)).sum(-1))).T
        x = x + np.tanh(a.transpose(1, 0, 2).reshape(count, -1) @ w[f"o{i}"])
    return x @ w["head"], sums


def records(step, index, sequence):
    """The bytes [tokens, heads, bytes] of a state."""
    state = step.states[index]
    each = state.page_bytes // (state.heads * state.width * PAGE)
    shape = (state.width, PAGE, each) if state.kind == 0 else (PAGE, state.width, each)
    pool = step.memory[index].reshape(-1, state.heads, *shape)[sequence.pages]
    pool = pool.transpose(0, 3, 1, 2, 4) if state.kind == 0 else pool.transpose(0, 2, 1, 3, 4)
    return pool.reshape(-1, state.heads, state.width * each)[:sequence.length]


def read_all(step, ids):
    """The logits, and the bytes of the first layer's keys and values."""
    sequence = Sequence()
    logits = step.run([(sequence, ids, range(len(ids)))])
    first = [i for i, state in enumerate(step.states) if state.layer == 0]
    return logits, {step.states[i].kind: records(step, i, sequence) for i in first}


def read_in_parts(step, ids):
    """The logits, read in chunks and one by one, beside another sequence."""
    sequence, other, parts, at = Sequence(), Sequence(), [], 0
    for count in (70, 1, 1, 40, 1, len(ids) - 113):
        mine = (sequence, ids[at:at + count], range(at, at + count))
        beside = (other, ids[:3], range(other.length, other.length + 3))
        parts.append(step.run([beside, mine])[3:])
        at += count
    return np.concatenate(parts)


def read_mixed(step, kind, ids):
    """The logits of a prompt and of what follows, where the pages of f16 that no token to come
    looks back at are gone."""
    near = {name: int(number) for name, number in (item.split("=") for item in kind.split(",")[1:])}
    [group] = {state.group for state in step.states} - {0}
    sequence, parts, at = Sequence(), [], 0
    for count in (300, 1, 64, 1, 200, len(ids) - 566):
        step.grow(sequence, at + count)
        first = (at - max(near.get("f16-recent", 0), 1) + 1) // PAGE
        kept = [page if p >= first or p * PAGE < near.get("f16-sinks", 0) else -1
                for p, page in enumerate(sequence.pages)]
        parts.append(step.run([(sequence, ids[at:at + count], range(at, at + count))],
                              changed={f"page_tables_{group}": ([kept], 6)}))
        at += count
    return np.concatenate(parts)


def follow_ways(step, ids, context):
    """A tree of two ways behind `context` tokens, and each way alone: the bits are the same."""
    own = ids[context:context + 9]
    bits = [0b1, 0b11, 0b101, 0b1011, 0b10101, 0b101011, 0b1010101, 0b10101011, 0b101010101]
    depth = [bin(b).count("1") - 1 for b in bits]

    def begin():
        sequence = Sequence()
        if context:
            step.run([(sequence, ids[:context], range(context))])
        return sequence

    tree = step.run([(begin(), own, [context + d for d in depth], bits)])
    for way in ([0, 1, 3, 5, 7], [0, 2, 4, 6, 8]):
        alone = step.run([(begin(), own[way], range(context, context + len(way)))])
        if not np.array_equal(alone, tree[way]):
            return False
    return True


def check_mixed(ferrite, library, folder, add):
    global PLACES
    PLACES = 1024
    write_model(folder / "long.onnx", 64)
    ids = np.random.default_rng(4).integers(0, WORDS, MIXED_COUNT)
    plain = {}
    for kind in MIXED:
        artifact = folder / "mixed.so"
        execute(ferrite, "compile", folder / "long.onnx", "-o", artifact, "--cpu=native", "--quiet",
                f"--kv={kind}", "--step-with=lse:0", limit=300)
        step = Step(library, artifact, 60, fill=0xFF)
        logits = step.run([(Sequence(), ids, range(len(ids)))])
        want, want_sums = reference(kind, ids, 64)
        base = kind.split(",")[0]
        if base not in plain:
            plain[base] = reference(base, ids, 64)
        error, distance = relative_error(logits, want), relative_error(plain[base][0], want)
        add(error <= 0.2 * distance, f"{kind}", f"{error:.1e}; without f16 {distance:.1e} away")
        [sums] = step.run([(Sequence(), ids, range(len(ids)))], outputs=["lse:0"])
        error, distance = (np.abs(x - want_sums).max() for x in (sums, plain[base][1]))
        add(error <= max(1e-5, 0.2 * distance), "  sums", f"{error:.1e}; without f16 {distance:.1e} away")
        step.free = list(range(60))
        add(np.array_equal(read_in_parts(step, ids), logits), "  chunks")
        step.free = list(range(60))
        add(np.array_equal(read_mixed(step, kind, ids), logits), "  pages that are gone")
        for context in (0, 2, 66, 500):
            step.free = list(range(60))
            add(follow_ways(step, ids, context), f"  a tree behind {context}")
        step.close()


def tinycode(ferrite, library, folder, root, add):
    ids = np.load(root / "valid.npy").astype(np.int64).reshape(-1)
    found = {}
    for kind, bar in (("f32", None), ("int8", 0.05), ("int4", 1.0), ("int4,f16-sinks=4", None), ("int4,f16-recent=64", 1.0),
                      ("int4,f16-sinks=4,f16-recent=64", 1.0), ("int4,f16-sinks=4,f16-recent=128", 1.0)):
        execute(ferrite, "compile", root / "target" / "model.onnx", "-o", folder / "model.so", "--cpu=native", "--quiet",
                f"--kv={kind}", limit=600)
        step, losses = Step(library, folder / "model.so", 8), []
        for i in range(24):
            step.free = list(range(8))
            x = step.run([(Sequence(), ids[i * 512:i * 512 + 512], range(512))]).astype(np.float64)
            top = x.max(-1)
            chosen = np.take_along_axis(x, ids[i * 512 + 1:i * 512 + 513, None], 1)[:, 0]
            losses.append(np.mean(top + np.log(np.exp(x - top[:, None]).sum(-1)) - chosen))
        step.close()
        found[kind] = np.exp(np.mean(losses))
        more = 100 * (found[kind] / found["f32"] - 1)
        add(bar is None or more <= bar, kind, f"perplexity {found[kind]:.4f}, {more:+.3f} %" + (f", bar {bar:+.2f} %" if bar else ""))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ferrite", type=pathlib.Path)
    parser.add_argument("--tinycode", type=pathlib.Path)
    args = parser.parse_args()
    ferrite = args.ferrite.resolve()
    library = str(ferrite.parent.parent / "lib" / "libferrite_rt.so")
    results = Results()
    add = results.add

    ids = np.random.default_rng(3).integers(0, WORDS, COUNT)
    with tempfile.TemporaryDirectory(prefix="ferrite-kv-") as folder:
        folder = pathlib.Path(folder)
        if args.tinycode:
            tinycode(ferrite, library, folder, args.tinycode, add)
            return results.finish()
        for size in (48, 64):
            write_model(folder / f"{size}.onnx", size)
        (exact, exact_sums), plain = reference("f32", ids, 64), None
        for kind in FORMATS:
            artifact = folder / f"{kind}.so"
            execute(ferrite, "compile", folder / "64.onnx", "-o", artifact, "--cpu=native",
                    "--quiet", f"--kv={kind}", "--step-with=lse:0", limit=300)
            step = Step(library, artifact, 16, fill=0xFF)
            logits, kept = read_all(step, ids)
            if kind == "f32":
                plain = {key: rows.copy().view(np.float32) for key, rows in kept.items()}
            for key, rows in kept.items():
                want = as_bytes(kind, plain[key])
                add(rows.shape == want.shape and np.array_equal(rows, want),
                    f"{kind} {('keys', 'values')[key]}", f"{rows.shape[-1]} bytes a head")
            want, want_sums = reference(kind, ids, 64)
            error, distance = relative_error(logits, want), relative_error(exact, want)
            # What lies at a tie in f64 may round to the other side in f32.
            bar = {"f32": 1e-5, "f16": 1e-4, "bf16": 1e-3}.get(kind, 0.2 * distance)
            add(error <= bar, f"{kind} logits", f"{error:.1e}; f32 is {distance:.1e} away")
            [sums] = step.run([(Sequence(), ids, range(len(ids)))], outputs=["lse:0"])
            error, distance = (np.abs(x - want_sums).max() for x in (sums, exact_sums))
            add(error <= max(1e-5, 0.2 * distance), f"{kind} sums",
                f"{error:.1e}; f32 is {distance:.1e} away")
            add(np.array_equal(read_in_parts(step, ids), logits), f"{kind} chunks")
            step.close()
        check_mixed(ferrite, library, folder, add)
        for size, kind, code, word in REFUSED:
            done = subprocess.run(
                [ferrite, "compile", folder / f"{size}.onnx", "-o", folder / "no.so", "--quiet",
                 f"--kv={kind}"], capture_output=True, text=True)
            add(done.returncode == code and word in done.stderr, f"no {kind} of {size}",
                done.stderr.strip()[-80:] if done.returncode != code else "")
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
