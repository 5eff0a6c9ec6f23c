"""Decoders of one token a call, and with caches as long as a window, in Llama's weights:
com.microsoft's DecoderMaskedMultiHeadAttention, TensorScatter that begins again at the
end of its buffer (which is told a position or a place), and GroupQueryAttention with
sliding_window_cache.

The references are PyTorch's, token by token, with the last tokens of the window as past.
"""
import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper

from . import decoders, feeds
from .family import REFERENCES, outputs_of
from .rewritten import save

WINDOW, CAPACITY, POSITIONS = 16, 24, 160
# New tokens, and the past of each row.
CASES = {
    "masked": {"b1-s1-p7": (1, [7]), "b3-s1-p20": (1, [20, 20, 20])},
    "circular": {"b1-s1-p0": (1, [0]), "b3-s1-p40-p15-p16": (1, [40, 15, 16])},
    "ring": {"b1-s1-p33": (1, [33]), "b2-s1-p3-p47": (1, [3, 47])},
    "windowed": {"b1-s8-p0": (8, [0]), "b1-s30-p0": (30, [0]), "b1-s4-p22": (4, [22]),
                 "b2-s1-p40": (1, [40, 40]), "b1-s5-p31": (5, [31])}}


def resident(count):
    """How many tokens sliding_window_cache keeps of `count`."""
    group = CAPACITY - WINDOW + 1
    return count if count <= CAPACITY else count - group * -(-(count - CAPACITY) // group)


def layout(form, rows, total):
    """The cache of a text whose keys or values are `rows` [heads, total, size]."""
    heads, _, size = rows.shape
    if form == "masked":
        return rows.repeat(2, 0)  # as many heads of keys as of queries
    cache = np.full((heads, CAPACITY if form == "windowed" else WINDOW, size), np.nan, np.float32)
    if form == "windowed":
        kept = resident(total)
        cache[:, :kept] = rows[:, total - kept:]
    else:
        for position in range(max(0, total - WINDOW), total):
            cache[:, position % WINDOW] = rows[:, position]
    return cache


def answer(llama, module, ids, past, window):
    """Logits and all rows, one token at a time."""
    past, logits = dict(past), []
    for token in ids:
        total = next(iter(past.values())).shape[1]
        first = max(0, total + 1 - window)
        feed = {"input_ids": np.array([[token]], np.int64),
                "attention_mask": np.ones((1, total + 1 - first), np.int64),
                "position_ids": np.array([[total]], np.int64)}
        for name, rows in past.items():
            feed[name] = np.ascontiguousarray(rows[None, :, first:])
        got = outputs_of(llama, module, feed)
        logits.append(got["logits"][0, 0])
        for name, rows in past.items():
            present = got[name.replace("past_key_values", "present")]
            past[name] = np.concatenate([rows, present[0, :, -1:]], 1)
    return np.stack(logits), past


def make_references(llama, form):
    module, references = llama.module("eager").float(), {}
    pasts = [n for n in llama.inputs if n.startswith("past_")]
    for case, (new, before) in CASES[form].items():
        rng = feeds.generator(f"llama-{form}", case)
        batch = len(before)
        feed = {"input_ids": rng.integers(3, decoders.VOCAB, (batch, new), np.int64)}
        caches, wanted, logits = {n: [] for n in pasts}, {n: [] for n in pasts}, []
        for row, count in enumerate(before):
            past = {n: rng.standard_normal((2, count, 16), np.float32) for n in pasts}
            got, whole = answer(llama, module, feed["input_ids"][row], past,
                                10**6 if form == "masked" else WINDOW)
            logits.append(got)
            for name in pasts:
                old = layout(form, past[name], count)
                old = np.where(np.isnan(old), rng.standard_normal(old.shape, np.float32), old)
                caches[name].append(old)
                after = layout(form, whole[name], count + new)
                if form in ("circular", "ring"):  # what was never written stays
                    after = np.where(np.isnan(after), old, after)
                wanted[name].append(after)
        counts = np.array(before, np.int64)
        if form == "windowed":
            feed["attention_mask"] = np.ones((batch, before[0] + new), np.int64)
        if form == "circular":
            feed["write_indices"] = counts
        if form == "ring":
            feed["write_indices"] = counts % WINDOW
        if form in ("masked", "ring"):
            feed["position_ids"] = counts[:, None]
        feed.update({n: np.stack(c) for n, c in caches.items()})
        want = {"logits": np.stack(logits)}
        want.update({n.replace("past_key_values", "present"): np.stack(c)
                     for n, c in wanted.items()})
        references[case] = feed, want
        np.savez_compressed(REFERENCES / f"llama-{form}.{case}.npz",
                            **{f"in.{n}": v for n, v in feed.items()},
                            **{f"out.{n}": v for n, v in want.items()})
    return references


def make_graph(llama, form):
    weights = {n.removeprefix("model."): p.detach().numpy()
               for n, p in llama.module("eager").named_parameters()}
    nodes, tensors, counter = [], {}, iter(range(10**6))

    def constant(name, value):
        tensors[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def number(value, name=None):
        return constant(name or f"number.{value}", np.array([value], np.int64))

    def node(op, inputs, outputs=None, domain="", **attributes):
        name = f"{op}_{next(counter)}"
        made = outputs or [f"{name}_out"]
        nodes.append(helper.make_node(op, inputs, made, name=name, domain=domain, **attributes))
        return made[0]

    def project(x, name, repeat=False):
        matrix = weights[name]
        if repeat:  # each head twice
            matrix = matrix.reshape(2, 16, -1).repeat(2, 0).reshape(64, -1)
        return node("MatMul", [x, constant(name + (".twice" if repeat else ""), matrix.T)])

    def normed(x, name):
        return node("RMSNormalization", [x, constant(name, weights[name])], axis=-1, epsilon=1e-6)

    def heads(x, count):
        shape = constant(f"heads.{count}", np.array([0, 0, count, 16], np.int64))
        return node("Transpose", [node("Reshape", [x, shape])], perm=[0, 2, 1, 3])

    def rows(x):
        return node("Reshape", [node("Transpose", [x], perm=[0, 2, 1, 3]),
                                constant("flat", np.array([0, 0, 64], np.int64))])
    angles = np.outer(np.arange(POSITIONS), 1e4 ** (-np.arange(8) / 8)).astype(np.float32)
    constant("cos", np.cos(angles)), constant("sin", np.sin(angles))
    positions, place, written = "position_ids", "write_indices", None
    if form == "circular":
        positions = node("Unsqueeze", ["write_indices", number(1)])
        place = node("Mod", ["write_indices", number(WINDOW)])
        written = node("Min", [node("Add", ["write_indices", number(1)]), number(WINDOW)])
    elif form == "ring":
        seen = node("Squeeze", ["position_ids", number(1)])
        written = node("Min", [node("Add", [seen, number(1)]), number(WINDOW)])
    elif form == "windowed":
        total = node("ReduceSum", ["attention_mask", number(1)], keepdims=0)
        lengths = node("Cast", [node("Sub", [total, number(1)])], to=TensorProto.INT32)
        columns = node("Gather", [node("Shape", ["attention_mask"]),
                                  constant("second", np.array(1, np.int64))])
        longest = node("Cast", [columns], to=TensorProto.INT32)

    def attend(y, at, layer):
        past = [f"past_key_values.{layer}.{kind}" for kind in ("key", "value")]
        present = [f"present.{layer}.{kind}" for kind in ("key", "value")]
        repeat = form == "masked"
        q, k, v = (project(y, f"{at}self_attn.{p}_proj.weight", repeat and p != "q") for p in "qkv")
        if form == "windowed":
            return node("GroupQueryAttention",
                        [q, k, v, *past, lengths, longest, "cos", "sin"],
                        [f"attention.{layer}", *present], "com.microsoft", num_heads=4,
                        kv_num_heads=2, scale=0.25, do_rotary=1, local_window_size=WINDOW,
                        sliding_window_cache=1)
        q, k, v = heads(q, 4), heads(k, 4 if repeat else 2), heads(v, 4 if repeat else 2)
        q, k = (node("RotaryEmbedding", [t, "cos", "sin", positions]) for t in (q, k))
        if form == "masked":
            return node("DecoderMaskedMultiHeadAttention",
                        [rows(q), rows(k), rows(v), "", "", *past],
                        [f"attention.{layer}", *present], "com.microsoft", num_heads=4)
        k, v = (node("TensorScatter", [p, t, place], [n], axis=2, mode="circular")
                for p, t, n in zip(past, (k, v), present))
        return rows(node("Attention", [q, k, v, "", "", "", written]))
    x = node("Gather", [constant("embedding", weights["model.embed_tokens.weight"]), "input_ids"])
    for layer in range(2):
        at = f"model.layers.{layer}."
        y = attend(normed(x, at + "input_layernorm.weight"), at, layer)
        x = node("Add", [x, project(y, at + "self_attn.o_proj.weight")])
        y = normed(x, at + "post_attention_layernorm.weight")
        gate = node("Swish", [project(y, at + "mlp.gate_proj.weight")])
        y = node("Mul", [gate, project(y, at + "mlp.up_proj.weight")])
        x = node("Add", [x, project(y, at + "mlp.down_proj.weight")])
    node("MatMul", [normed(x, "model.norm.weight"),
                    constant("lm_head", weights["lm_head.weight"].T)], ["logits"])
    info = helper.make_tensor_value_info
    new = "sequence" if form == "windowed" else 1
    before, after = {"masked": ("past", "total"), "windowed": ("sliding", "sliding")}.get(
        form, (WINDOW, WINDOW))
    given = {"masked": {"position_ids": ["batch", 1]}, "circular": {"write_indices": ["batch"]},
             "ring": {"write_indices": ["batch"], "position_ids": ["batch", 1]},
             "windowed": {"attention_mask": ["batch", "total"]}}[form]
    count = 4 if form == "masked" else 2
    graph = helper.make_graph(
        nodes, form,
        [info("input_ids", TensorProto.INT64, ["batch", new]),
         *(info(n, TensorProto.INT64, dims) for n, dims in given.items()),
         *(info(n, TensorProto.FLOAT, ["batch", count, before, 16])
           for n in llama.inputs if n.startswith("past_"))],
        [info("logits", TensorProto.FLOAT, ["batch", new, decoders.VOCAB]),
         *(info(n, TensorProto.FLOAT, ["batch", count, after, 16]) for n in llama.outputs[1:])],
        list(tensors.values()))
    return helper.make_model(graph, ir_version=11, opset_imports=[
        helper.make_opsetid("", 24), helper.make_opsetid("com.microsoft", 1)])


def make(only=""):
    llama = {f.name: f for f in decoders.families(["llama"])}["llama-kv"]
    good = True
    for form in CASES:
        if only in f"llama-{form}":
            with torch.no_grad():
                references = make_references(llama, form)
            good &= save(f"llama-{form}.onnx-24-kv", "llama", make_graph(llama, form), references)
    return good
