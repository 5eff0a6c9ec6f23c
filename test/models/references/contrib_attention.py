"""Attention of com.microsoft, a node each.

Longer than other files because its ops share one NumPy reference of attention.
"""
import numpy as np

from .contrib import Case, Draw

I32 = np.int32


def softmax(x, sink=None):
    top = x.max(-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    e = np.exp(x - top)
    return e / (e.sum(-1, keepdims=True) + (0 if sink is None else np.exp(sink - top)))


def attend(q, k, v, bias=0.0, scale=None):
    """[batch, heads, tokens, size], in double precision."""
    q, k, v = (t.astype(np.float64) for t in (q, k, v))
    scores = q @ k.swapaxes(-1, -2) * (scale or q.shape[-1] ** -0.5) + bias
    return softmax(scores) @ v


def heads_of(x, heads):
    return x.reshape(*x.shape[:-1], heads, -1).swapaxes(-2, -3)


def rows_of(x):
    x = x.swapaxes(-2, -3)
    return x.reshape(*x.shape[:-2], -1).astype(np.float32)


def multi_head():
    x = Draw("mha")
    op, heads = "MultiHeadAttention", {"num_heads": 3}
    keys = ("q", "k", "v", "bias", "mask", "add", "past_k", "past_v")
    dims = {"q": ["batch", "tokens", 24], "k": ["batch", "keys", 24], "v": ["batch", "keys", 24]}

    def inputs(**given):
        return {key: given.get(key) for key in keys}

    q, k, v = x(2, 4, 24), x(2, 6, 24), x(2, 6, 24)
    rows = {"q": q, "k": k, "v": v}
    yield Case(op, "plain", inputs(**rows), attributes=heads, dims=dims)
    yield Case(op, "bias", inputs(**rows, bias=x(72)), attributes=heads, dims=dims)
    yield Case(op, "scale", inputs(**rows), attributes={**heads, "scale": 0.7})
    yield Case(op, "causal", inputs(q=x(2, 6, 24), k=k, v=v),
               attributes={**heads, "unidirectional": 1},
               dims={key: ["batch", "tokens", 24] for key in "qkv"})
    yield Case(op, "wide-values", inputs(q=q, k=k, v=x(2, 6, 36), bias=x(84)), attributes=heads)
    lengths = np.array([6, 4], I32)
    padding = (np.arange(6) < lengths[:, None]).astype(I32)
    yield Case(op, "lengths", inputs(**rows, mask=lengths), attributes=heads,
               dims={**dims, "mask": ["batch"]})
    yield Case(op, "lengths-filter", inputs(**rows, mask=np.array([6, 1], I32)),
               attributes={**heads, "mask_filter_value": -3.0})
    starts = np.concatenate([lengths, [0, 4, 8], [0, 6, 12]]).astype(I32)
    yield Case(op, "lengths-and-starts", inputs(**rows, mask=starts), attributes=heads,
               numpy=lambda q, k, v, mask, **_: rows_of(attend(
                   heads_of(q, 3), heads_of(k, 3), heads_of(v, 3),
                   np.where(padding, 0, -10000.0)[:, None, None])))
    yield Case(op, "key-mask", inputs(**rows, mask=padding), attributes=heads,
               dims={**dims, "mask": ["batch", "keys"]})
    yield Case(op, "query-mask", inputs(**rows, mask=x.rng.integers(0, 2, (2, 4, 6)).astype(I32)),
               attributes=heads, dims={**dims, "mask": ["batch", "tokens", "keys"]})
    yield Case(op, "all-masked", inputs(**rows, mask=padding * np.array([[1], [0]], I32)),
               attributes=heads)
    for name, shape in (("add", (2, 3, 4, 6)), ("add-to-all", (1, 1, 4, 6))):
        yield Case(op, name, inputs(**rows, mask=padding, add=x(*shape)), attributes=heads)
    past = {"past_k": x(2, 3, 5, 8), "past_v": x(2, 3, 5, 8)}
    past_dims = {key: ["batch", 3, "past", 8] for key in past}
    new = {key: value[:, :4] for key, value in rows.items()}
    outputs = ("output", "present_k", "present_v")
    new_dims = {key: ["batch", "tokens", 24] for key in "qkv"}
    yield Case(op, "past", inputs(**new, **past), outputs, heads, {**new_dims, **past_dims})
    yield Case(op, "past-causal", inputs(**new, **past, bias=x(72)), outputs,
               {**heads, "unidirectional": 1}, {**new_dims, **past_dims})
    yield Case(op, "past-mask", inputs(**new, **past, mask=(x(2, 9) > 0).astype(I32)), outputs,
               heads, {**new_dims, **past_dims, "mask": ["batch", "total"]})
    yield Case(op, "cross-cache", inputs(q=q, k=x(2, 3, 6, 8), v=x(2, 3, 6, 8)), attributes=heads)
    yield Case(op, "cross-cache-bias", inputs(q=q, k=x(2, 3, 6, 8), v=x(2, 3, 6, 8), bias=x(72)),
               attributes=heads,
               numpy=lambda q, k, v, bias, **_: rows_of(attend(
                   heads_of(q + bias[:24], 3), k, v)))
    packed = x(2, 6, 3, 3, 8)
    yield Case(op, "packed-qkv", inputs(q=packed, bias=x(72)), attributes=heads,
               numpy=lambda q, bias, **_: rows_of(attend(*(
                   (q[:, :, :, i] + bias[24 * i:24 * i + 24].reshape(3, 8)).swapaxes(1, 2)
                   for i in range(3)))))
    yield Case(op, "packed-kv", inputs(q=q, k=x(2, 6, 3, 2, 8)), attributes=heads,
               numpy=lambda q, k, **_: rows_of(attend(
                   heads_of(q, 3), k[:, :, :, 0].swapaxes(1, 2), k[:, :, :, 1].swapaxes(1, 2))))
    yield Case(op, "weights", inputs(**new, **past, add=x(2, 3, 4, 9)), (*outputs, "qk"), heads)
    yield Case(op, "f16", {k: None if v is None else v.astype(np.float16)
                           for k, v in inputs(**rows).items()}, attributes=heads)


def decoder_masked():
    x = Draw("dmmha")
    op = "DecoderMaskedMultiHeadAttention"
    keys = ("q", "k", "v", "mask", "add", "past_k", "past_v", "past_length", "beams",
            "indirection", "bias")

    def inputs(**given):
        return {key: given.get(key) for key in keys}

    rows = {"q": x(2, 1, 24), "k": x(2, 1, 24), "v": x(2, 1, 24)}
    past = {"past_k": x(2, 3, 5, 8), "past_v": x(2, 3, 5, 8)}
    outputs = ("output", "present_k", "present_v")
    dims = {**{key: ["batch", 1, 24] for key in "qkv"},
            **{key: ["batch", 3, "past", 8] for key in past}, "mask": ["batch", "whole"],
            "add": ["batch", 3, 1, "whole"]}
    mask = (np.arange(6) < np.array([[6], [5]])).astype(I32)

    def self_attention(q, k, v, mask=None, add=None, past_k=None, past_v=None, bias=None, **_):
        parts = [heads_of(t + (0 if bias is None else bias[24 * i:24 * i + 24]), 3)
                 for i, t in enumerate((q, k, v))]
        k, v = (np.concatenate([a, b], 2) for a, b in ((past_k, parts[1]), (past_v, parts[2])))
        total = 0 if mask is None else np.where(mask, 0, -10000.0)[:, None, None]
        return (rows_of(attend(parts[0], k, v, total + (0 if add is None else add))),
                k.astype(np.float32), v.astype(np.float32))

    for name, more in (("self", {}), ("bias", {"bias": x(72)}),
                       ("mask", {"mask": mask, "add": x(2, 3, 1, 6)})):
        yield Case(op, name, inputs(**rows, **past, **more), outputs, {"num_heads": 3}, dims,
                   numpy=self_attention)
    yield Case(op, "cross", inputs(q=rows["q"], k=x(2, 3, 6, 8), v=x(2, 3, 6, 8)),
               attributes={"num_heads": 3}, numpy=lambda q, k, v, **_: rows_of(
                   attend(heads_of(q, 3), k, v)))


def contrib():
    x = Draw("attention")
    op, heads = "Attention", {"num_heads": 3}
    keys = ("x", "w", "b", "mask", "past", "add")

    def inputs(**given):
        return {key: given.get(key) for key in keys}

    base = {"x": x(2, 5, 16), "w": x(16, 72, scale=0.3), "b": x(72)}
    dims = {"x": ["batch", "tokens", 16]}
    constants = ("w", "b")
    yield Case(op, "plain", inputs(**base), attributes=heads, dims=dims, constants=constants)
    # ONNX Runtime 1.31.1 dies of it.
    yield Case(op, "no-bias", inputs(**{**base, "b": None}), attributes=heads,
               numpy=lambda x, w, **_: rows_of(attend(*(
                   heads_of(part, 3) for part in np.split(x @ w, 3, -1)))))
    yield Case(op, "causal", inputs(**base), attributes={**heads, "unidirectional": 1}, dims=dims,
               constants=constants)
    yield Case(op, "sizes", inputs(x=base["x"], w=x(16, 84), b=x(84)),
               attributes={**heads, "qkv_hidden_sizes": [24, 24, 36], "scale": 0.2})
    lengths = np.array([5, 3], I32)
    padding = (np.arange(5) < lengths[:, None]).astype(I32)
    for name, mask, shape in (
            ("lengths", lengths, ["batch"]),
            ("ends-and-starts", np.array([5, 4, 1, 0], I32), [4]),
            ("key-mask", padding, ["batch", "tokens"]),
            ("query-mask", x.rng.integers(0, 2, (2, 5, 5)).astype(I32),
             ["batch", "tokens", "tokens"])):
        for causal in (0, 1):
            yield Case(op, name + ("-causal" if causal else ""), inputs(**base, mask=mask),
                       attributes={**heads, "unidirectional": causal},
                       dims={"mask": shape, **({} if shape == [4] else dims)},
                       constants=constants)

    def megatron(x, w, b, mask, past, **_):
        rows = x @ w + b
        q, k, v = (heads_of(rows[..., 24 * i:24 * i + 24], 3) for i in range(3))
        k, v = np.concatenate([past[0], k], 2), np.concatenate([past[1], v], 2)
        keep = mask[:, :, 4:9, :9]
        return (rows_of(attend(q, k, v, np.where(keep, 0, -10000.0))),
                np.stack([k, v]).astype(np.float32))

    past = x(2, 2, 3, 4, 8)
    yield Case(op, "mask-of-all-positions",
               inputs(**base, mask=x.rng.integers(0, 2, (2, 1, 12, 12)).astype(I32), past=past),
               ("output", "present"), heads, numpy=megatron)
    past_dims = {**dims, "past": [2, "batch", 3, "past", 8]}
    yield Case(op, "past", inputs(**base, past=past), ("output", "present"),
               {**heads, "unidirectional": 1}, past_dims, constants)
    yield Case(op, "past-mask", inputs(**base, past=past, mask=(x(2, 9) > -1).astype(I32)),
               ("output", "present"), {**heads, "unidirectional": 1},
               {**past_dims, "mask": ["batch", "total"]}, constants)
    yield Case(op, "present-alone", inputs(**base), ("output", "present"),
               {**heads, "unidirectional": 1}, dims, constants)
    yield Case(op, "add", inputs(**base, add=x(2, 3, 5, 5)), attributes=heads)
    yield Case(op, "filter", inputs(**base, mask=lengths),
               attributes={**heads, "mask_filter_value": -2.0})


def open_rows(total, new, prompt):
    """What a row has no token for: queries behind its end, and rows of the cache."""
    def opens(answers):
        for row, count in enumerate(total):
            first = 0 if prompt else count - new
            answers["output"][row, max(count - first, 0):] = np.nan
            if "present_k" in answers:
                for key in ("present_k", "present_v"):
                    answers[key][row, :, count:] = np.nan
            if "qk" in answers:
                answers["qk"][row, :, max(count - first, 0):] = np.nan
    return opens


def grouped():
    x = Draw("gqa")
    op = "GroupQueryAttention"
    keys = ("q", "k", "v", "past_k", "past_v", "last", "total", "cos", "sin", "at", "add",
            "sink", "k_scale", "v_scale", "q_norm", "k_norm")
    angles = x.rng.uniform(-3, 3, (16, 8)).astype(np.float32)
    tables = {"cos": np.cos(angles), "sin": np.sin(angles)}

    def case(name, batch, new, past, total, attributes=None, packed=False, shared=0, numpy=None,
             qk=None, **given):
        """`total` tells how many tokens each row has; `past` None is none at all."""
        inputs = dict.fromkeys(keys)
        dims, declared = {}, {}
        if packed:
            inputs["q"] = x(batch, new, 128)
        else:
            inputs.update(q=x(batch, new, 64), k=x(batch, new, 32), v=x(batch, new, 32))
        for key in ("q", "k", "v"):
            if inputs[key] is not None:
                dims[key] = ["batch", "tokens", inputs[key].shape[2]]
        if past is not None:
            for key in ("k", "v"):
                inputs[f"past_{key}"] = x(batch, 2, shared or past, 16)
                dims[f"past_{key}"] = ["batch", 2, "cache" if shared else "past", 16]
                declared[f"present_{key}"] = (
                    np.float32, ["batch", 2, "cache" if shared else "whole", 16])
        inputs["last"] = np.array(total, I32) - 1
        inputs["total"] = np.array(max(total), I32)
        dims["last"] = ["batch"]
        inputs.update(given)
        if "at" in given:
            dims["at"] = ["batch", "tokens"]
        if "add" in given:
            dims["add"] = [1 if given["add"].shape[0] == 1 else "batch", given["add"].shape[1],
                           "tokens", "whole"]
        constants = [key for key in ("cos", "sin") if inputs[key] is not None]
        attributes = {"num_heads": 4, "kv_num_heads": 2, **(attributes or {})}
        outputs = ("output", "present_k", "present_v") + (("qk",) if qk else ())
        if past is None:
            outputs = ("output",) + (("", "", "qk") if qk else ())
        prompt = new == max(total)
        return Case(op, name, inputs, outputs, attributes, dims, constants, numpy=numpy,
                    declared=declared, opens=open_rows(total, new, prompt))

    rope = {"do_rotary": 1}
    yield case("prompt", 2, 5, 0, [5, 5])
    yield case("prompt-padded", 3, 5, 0, [5, 2, 4], rope, **tables)
    yield case("decode", 2, 1, 6, [7, 7])
    yield case("decode-ragged", 3, 1, 6, [7, 3, 5], rope, **tables)
    yield case("interleaved", 2, 1, 6, [7, 4], {**rope, "rotary_interleaved": 1}, **tables)

    def part(q, k, v, cos, sin, **_):  # ONNX Runtime turns multiples of 16 alone
        def turn(t):
            one, two, rest = np.split(t, [4, 8], -1)
            c, s = cos[:4], sin[:4]
            return np.concatenate([one * c - two * s, two * c + one * s, rest], -1)
        k, v = turn(heads_of(k, 2)), heads_of(v, 2)
        causal = np.where(np.tri(4, dtype=bool), 0, -np.inf)
        return (rows_of(attend(turn(heads_of(q, 4)), *(np.repeat(t, 2, 1) for t in (k, v)),
                               causal)), k, v)

    yield case("part-of-head", 2, 4, 0, [4, 4], rope, numpy=part, cos=tables["cos"][:, :4],
               sin=tables["sin"][:, :4])
    yield case("packed", 2, 1, 6, [7, 4], rope, packed=True, **tables)
    yield case("packed-prompt", 2, 4, 0, [4, 3], rope, packed=True, **tables)
    yield case("chunk", 1, 3, 6, [9], rope, **tables)
    yield case("no-past", 2, 4, None, [4, 4], numpy=None)
    yield case("window", 2, 6, 0, [6, 6], {"local_window_size": 3})
    yield case("window-decode", 2, 1, 8, [9, 5], {"local_window_size": 3})
    yield case("softcap", 2, 1, 6, [7, 5], {"softcap": 1.5, "scale": 2.0})
    yield case("smooth", 2, 5, 0, [5, 5], {"smooth_softmax": 1})
    yield case("sink", 2, 1, 6, [7, 5], sink=x(4))
    yield case("positions", 2, 1, 6, [7, 5], rope, **tables, at=np.array([[9], [3]]))
    yield case("positions-prompt", 1, 4, 0, [4], rope, **tables, at=np.arange(2, 6)[None])
    yield case("add", 2, 4, 0, [4, 4], add=x(2, 4, 4, 4))
    yield case("add-decode", 2, 1, 6, [7, 7], {"softcap": 3.0}, add=x(1, 1, 1, 7))
    yield case("add-scores", 2, 1, 6, [7, 7], {"softcap": 3.0, "qk_output": 1}, qk=True,
               add=x(1, 1, 1, 7))
    yield case("shared", 2, 1, 4, [5, 3], rope, shared=12, **tables)
    yield case("shared-prompt", 2, 4, 0, [4, 3], rope, shared=12, **tables)
    yield case("bidirectional", 2, 5, 0, [5, 5], {"causal": 0})
    for mode, name in ((1, "scores"), (2, "weights")):
        yield case(name, 1, 4, 0, [4], {"qk_output": mode, "softcap": 2.0}, qk=True)

    def normed(q, k, v, q_norm, k_norm, **_):
        def rms(t, weight):
            return t / np.sqrt((t.astype(np.float64) ** 2).mean(-1, keepdims=True) + 1e-6) * weight
        q = rms(heads_of(q, 4), q_norm)
        k = np.repeat(rms(heads_of(k, 2), k_norm), 2, 1)
        v = np.repeat(heads_of(v, 2), 2, 1)
        causal = np.where(np.tri(4, dtype=bool), 0, -np.inf)
        return rows_of(attend(q, k, v, causal))

    yield case("head-norms", 2, 4, None, [4, 4], numpy=normed, q_norm=x(16), k_norm=x(16))


def packed():
    x = Draw("packed")
    lengths, longest = [2, 4, 3], 4
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(I32)
    inside = [b * longest + s for b, n in enumerate(lengths) for s in range(n)]
    outside = [b * longest + s for b, n in enumerate(lengths) for s in range(n, longest)]
    offsets = np.array(inside + outside, I32).reshape(3, longest)

    def run(q, k, v, add):
        parts = []
        for b, n in enumerate(lengths):
            at = slice(ends[b], ends[b] + n)
            parts.append(rows_of(attend(*(heads_of(t[at], 3) for t in (q, k, v)),
                                        0 if add is None else add[b, :, :n, :n])))
        return np.concatenate(parts)

    def attention(x, w, b, offsets, ends, add=None):
        rows = x @ w + b
        return run(rows[:, :24], rows[:, 24:48], rows[:, 48:], add)

    base = {"x": x(9, 16), "w": x(16, 72), "b": x(72), "offsets": offsets, "ends": ends}
    dims = {"x": ["tokens", 16], "offsets": ["batch", "longest"],
            "add": ["batch", 3, "longest", "longest"]}
    for name, more in (("plain", {}), ("add", {"add": x(3, 3, 4, 4)})):
        yield Case("PackedAttention", name, {**base, **more}, attributes={"num_heads": 3},
                   dims=dims, numpy=attention)

    def heads(q, k, v, bias, offsets, ends, add=None):
        if k is None:
            q, k, v = (q[:, :, i].reshape(len(q), -1) for i in range(3))  # [tokens, heads, 3, size]
        parts = [0, 0, 0] if bias is None else np.split(bias, 3)
        return run(q + parts[0], k + parts[1], v + parts[2], add)

    rows = {"q": x(9, 24), "k": x(9, 24), "v": x(9, 24), "bias": x(72), "offsets": offsets,
            "ends": ends}
    op = "PackedMultiHeadAttention"
    yield Case(op, "rows", rows, attributes={"num_heads": 3}, numpy=heads)
    yield Case(op, "packed", {**rows, "q": x(9, 3, 3, 8), "k": None, "v": None, "bias": None},
               attributes={"num_heads": 3}, numpy=heads)


def sparse():
    x = Draw("sparse")
    op = "SparseAttention"
    keys = ("q", "k", "v", "past_k", "past_v", "rows", "columns", "total", "lengths", "cos", "sin")
    columns = np.array([[0, 0, 1, 1, 2, 1, 2, 3, -1], [0, 0, 1, 0, 1, 2, 0, 2, 3]], I32)
    rows = np.array([[0, 1, 3, 5, 8], [0, 1, 3, 6, 9]], I32)
    angles = x.rng.uniform(-3, 3, (64, 4)).astype(np.float32)
    outputs = ("output", "present_k", "present_v")

    def case(name, batch, new, total, attributes=None, packed=False, **given):
        inputs = dict.fromkeys(keys)
        if packed:
            inputs["q"] = x(batch, new, 64)
        else:
            inputs.update(q=x(batch, new, 32), k=x(batch, new, 16), v=x(batch, new, 16))
        inputs.update(past_k=x(batch, 2, 64, 8), past_v=x(batch, 2, 64, 8), rows=rows,
                      columns=columns, total=np.array([max(total)], I32),
                      lengths=np.array(total, I32), **given)
        attributes = {"num_heads": 4, "kv_num_heads": 2, "sparse_block_size": 16,
                      "scale": 0.4, **(attributes or {})}

        def reference(q, k, v, past_k, past_v, cos=None, sin=None, **_):
            if k is None:
                q, k, v = q[..., :32], q[..., 32:48], q[..., 48:]
            q, k, v = heads_of(q, 4), heads_of(k, 2), heads_of(v, 2)
            out = np.empty_like(q)
            present = [past_k.copy(), past_v.copy()]
            for b, count in enumerate(total):
                first = max(count - new, 0)
                at = np.arange(first, first + new)
                if attributes.get("do_rotary"):
                    c, s = cos[at], sin[at]

                    def turn(t):
                        one, two = t[..., :4], t[..., 4:]
                        return np.concatenate([one * c - two * s, two * c + one * s], -1)
                else:
                    def turn(t):
                        return t
                present[0][b, :, at] = turn(k[b]).swapaxes(0, 1)
                present[1][b, :, at] = v[b].swapaxes(0, 1)
                for h in range(4):
                    layout = np.zeros((4, 4), bool)
                    for r in range(4):
                        layout[r, columns[h % 2][rows[h % 2][r]:rows[h % 2][r + 1]]] = True
                    j = np.arange(64)
                    seen = layout[at[:, None] // 16, j // 16] & (j <= at[:, None])
                    out[b, h] = attend(turn(q[b, h]), present[0][b, h // 2], present[1][b, h // 2],
                                       np.where(seen, 0, -np.inf), 0.4)
            return rows_of(out), present[0], present[1]

        dims = {"past_k": ["batch", 2, 64, 8], "past_v": ["batch", 2, 64, 8],
                "lengths": ["batch"], **{key: ["batch", "tokens", inputs[key].shape[2]]
                                         for key in "qkv" if inputs[key] is not None}}
        return Case(op, name, inputs, outputs, attributes, dims, ("rows", "columns"),
                    numpy=reference, opens=open_rows(total, new, new == max(total)))

    yield case("prompt", 2, 50, [50, 41])
    yield case("decode", 2, 1, [57, 40])
    yield case("rotary", 1, 3, [40], {"do_rotary": 1}, cos=np.cos(angles), sin=np.sin(angles))
    yield case("packed", 1, 1, [33], packed=True)


def cases():
    for part in (multi_head, decoder_masked, contrib, grouped, packed, sparse):
        yield from part()
