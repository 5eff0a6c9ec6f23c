"""Norms, products, activations and positions of com.microsoft, a node each."""
import numpy as np

from .contrib import Case, Draw

F16, I32, I64 = np.float16, np.int32, np.int64


def erf_gelu(x):
    from math import erf
    return (x * 0.5 * (1 + np.vectorize(erf)(x / np.sqrt(2)))).astype(x.dtype)


def tanh_gelu(x):
    return (0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))).astype(x.dtype)


def norms():
    for name, dtype in (("f32", np.float32), ("f16", F16)):
        x = Draw("skip" + name)
        rows = {"input": x(2, 5, 48, dtype=dtype), "skip": x(2, 5, 48, dtype=dtype),
                "gamma": x(48, dtype=dtype), "beta": x(48, dtype=dtype),
                "bias": x(48, dtype=dtype)}
        dims = {"input": ["batch", "tokens", 48], "skip": ["batch", "tokens", 48]}
        outputs = ("output", "", "", "sum")
        yield Case("SkipLayerNormalization", name, rows, outputs, {"epsilon": 1e-5}, dims)
        yield Case("SkipLayerNormalization", f"{name}-no-bias", {**rows, "bias": None},
                   attributes={"epsilon": 1e-3}, dims=dims)
        yield Case("SkipLayerNormalization", f"{name}-no-beta", {**rows, "beta": None}, outputs,
                   dims=dims)
        rms = {k: v for k, v in rows.items() if k != "beta"}
        yield Case("SkipSimplifiedLayerNormalization", name, rms, outputs, {"epsilon": 1e-5}, dims)
        yield Case("SkipSimplifiedLayerNormalization", f"{name}-no-bias", {**rms, "bias": None},
                   dims=dims)
    x = Draw("skip-shapes")
    full, row = x(2, 5, 24), x(24)
    for name, skip in (("batch-of-one", x(1, 5, 24)), ("no-batch", x(5, 24))):
        yield Case("SkipLayerNormalization", name, {"input": full, "skip": skip, "gamma": row,
                                                    "beta": row * 0.5})
    yield Case("SkipSimplifiedLayerNormalization", "tokens-alone",
               {"input": full[0], "skip": full[1], "gamma": row}, ("output", "", "", "sum"))

    def moments(input, skip, gamma, beta=None, bias=None):
        total = input.astype(np.float64) + skip + bias
        mean = total.mean(-1, keepdims=True)
        centred = total - (mean if beta is not None else 0)
        inverse = 1 / np.sqrt((centred ** 2).mean(-1, keepdims=True) + 1e-2)
        out = centred * inverse * gamma + (0 if beta is None else beta)
        found = (out, mean, inverse, total) if beta is not None else (out, inverse, total)
        return tuple(v.astype(np.float32) for v in found)

    rows = {"input": full, "skip": x(2, 5, 24), "gamma": row, "beta": x(24), "bias": x(24)}
    yield Case("SkipLayerNormalization", "moments", rows, ("output", "mean", "inverse", "sum"),
               {"epsilon": 1e-2}, numpy=moments)
    yield Case("SkipSimplifiedLayerNormalization", "moments",
               {k: v for k, v in rows.items() if k != "beta"},
               ("output", "", "inverse", "sum"), {"epsilon": 1e-2}, numpy=moments)
    yield Case("SimplifiedLayerNormalization", "f32", {"x": full, "scale": row},
               attributes={"epsilon": 1e-5, "axis": -1, "stash_type": 1}, domain="", opset=17,
               dims={"x": ["batch", "tokens", 24]})

    def simplified(x, scale):
        inverse = 1 / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + 1e-5)
        return (x * inverse * scale).astype(x.dtype), inverse.astype(np.float32)

    yield Case("SimplifiedLayerNormalization", "inverse", {"x": full, "scale": row},
               ("output", "inverse"), {"epsilon": 1e-5}, domain="", opset=17, numpy=simplified)


def embeddings():
    x = Draw("embed")
    ids = x.rng.integers(0, 20, (3, 6)).astype(I32)
    mask = (np.arange(6) < np.array([[6], [4], [1]])).astype(I32)
    inputs = {"ids": ids, "segments": x.rng.integers(0, 2, (3, 6)).astype(I32),
              "words": x(20, 24), "places": x(9, 24), "kinds": x(2, 24), "gamma": x(24),
              "beta": x(24), "mask": mask,
              "at": x.rng.integers(0, 9, (3, 6)).astype(I32)}
    dims = {key: ["batch", "tokens"] for key in ("ids", "segments", "mask", "at")}
    declared = {"mask_index": (I32, None)}
    outputs = ("output", "mask_index", "sum")
    op, tables = "EmbedLayerNormalization", ("words", "places", "kinds", "gamma", "beta")
    yield Case(op, "all", inputs, outputs, {"epsilon": 1e-5}, dims, tables, declared=declared)
    yield Case(op, "no-positions", {**inputs, "at": None}, outputs, {"epsilon": 1e-12}, dims,
               tables, declared=declared)
    yield Case(op, "no-segments", {**inputs, "segments": None, "kinds": None, "at": None},
               ("output", "mask_index"), {}, dims, declared=declared)
    yield Case(op, "no-mask", {**inputs, "mask": None, "at": None}, ("output", "mask_index"), {},
               dims, declared=declared)
    yield Case(op, "one-row-of-positions", {**inputs, "mask": None, "at": inputs["at"][:1]},
               ("output", "mask_index"), {}, {**dims, "at": [1, "tokens"]}, declared=declared)


def products():
    x = Draw("products")
    for name, a, b, attributes in (
            ("plain", (2, 3, 5), (2, 5, 4), {"alpha": 0.5}),
            ("both-transposed", (2, 5, 3), (2, 4, 5), {"transA": 1, "transB": 1, "alpha": 2.0}),
            ("broadcast", (2, 1, 3, 5), (7, 5, 4), {}),
            ("matrix-and-stack", (3, 5), (2, 4, 5), {"transB": 1}),
            ("batch-inside-a", (3, 2, 5), (2, 5, 4), {"transBatchA": 1}),
            ("batch-inside-b", (2, 3, 5), (5, 2, 4), {"transBatchB": 1}),
            ("batch-inside-both", (3, 2, 7, 5), (5, 2, 7, 4),
             {"transBatchA": 1, "transBatchB": 1, "alpha": 0.25}),
            ("batch-inside-transposed", (5, 2, 3), (4, 2, 5),
             {"transBatchA": 1, "transBatchB": 1, "transA": 1, "transB": 1}),
            ("row", (5,), (2, 5, 4), {}),
            ("column", (2, 3, 5), (5,), {})):
        yield Case("FusedMatMul", name, {"a": x(*a), "b": x(*b)}, attributes=attributes)
    yield Case("TransposeMatMul", "alpha", {"a": x(5, 3), "b": x(5, 4)},
               attributes={"transA": 1, "alpha": 3.0})
    a, b, c = x(3, 5), x(5, 4), x(4)
    for activation, more in (
            ("Relu", {}), ("Tanh", {}), ("Sigmoid", {}), ("Softplus", {}), ("Softsign", {}),
            ("LeakyRelu", {"activation_alpha": 0.2}), ("Elu", {"activation_alpha": 0.7}),
            ("ThresholdedRelu", {"activation_alpha": 0.4}),
            ("HardSigmoid", {"activation_alpha": 0.3, "activation_beta": 0.4})):
        yield Case("FusedGemm", activation, {"a": a, "b": b, "c": c},
                   attributes={"activation": activation, "alpha": 0.5, "beta": 2.0, **more})
    yield Case("FusedGemm", "transposed", {"a": x(5, 3), "b": x(4, 5), "c": None},
               attributes={"activation": "Relu", "transA": 1, "transB": 1})

    def selu(a, b, c=None):
        y = a @ b
        return (1.2 * np.where(y < 0, 1.5 * np.expm1(y), y)).astype(np.float32)

    yield Case("FusedGemm", "Selu", {"a": a, "b": b},
               attributes={"activation": "Selu", "activation_alpha": 1.5,
                           "activation_gamma": 1.2}, numpy=selu)
    yield Case("FusedMatMulActivation", "Relu", {"a": x(2, 3, 5), "b": x(2, 4, 5)},
               attributes={"activation": "Relu", "transB": 1, "alpha": 0.5},
               numpy=lambda a, b: np.maximum(0.5 * a @ b.swapaxes(1, 2), 0))
    for name, bias in (("bias", x(4)), ("no-bias", None)):
        yield Case("GemmFastGelu", name, {"x": x(2, 3, 5), "w": b, "bias": bias},
                   numpy=lambda x, w, bias: tanh_gelu(x @ w + (0 if bias is None else bias)))


def activations():
    x = Draw("activations")
    data, bias = x(2, 3, 8, scale=2), x(8)
    dims = {"x": ["batch", "tokens", 8]}
    yield Case("Gelu", "f32", {"x": data}, dims=dims)
    yield Case("BiasGelu", "f32", {"x": data, "bias": bias}, dims=dims)
    yield Case("FastGelu", "f32", {"x": data}, dims=dims)
    yield Case("FastGelu", "bias", {"x": data, "bias": bias}, dims=dims)
    yield Case("FastGelu", "f16", {"x": data.astype(F16), "bias": bias.astype(F16)}, dims=dims,
               numpy=lambda x, bias: tanh_gelu(x.astype(np.float32) + bias).astype(F16))
    for alpha in (1.702, 1.0, 0.5):
        yield Case("QuickGelu", f"alpha-{alpha}", {"x": data}, attributes={"alpha": alpha})
    yield Case("BiasAdd", "f32", {"x": data, "bias": bias, "skip": x(2, 3, 8)},
               numpy=lambda x, bias, skip: x + bias + skip)
    yield Case("BiasSplitGelu", "f32", {"x": data, "bias": bias},
               numpy=lambda x, bias: (x + bias)[..., :4] * erf_gelu((x + bias)[..., 4:]))

    def softmax(x, bias):
        e = np.exp(x + bias - (x + bias).max((-1, -2), keepdims=True))
        return (e / e.sum((-1, -2), keepdims=True)).astype(x.dtype)

    yield Case("BiasSoftmax", "outer", {"x": x(2, 3, 4, 5), "bias": x(4, 5)},
               attributes={"axis": 2, "is_inner_broadcast": 0}, numpy=softmax)
    yield Case("BiasSoftmax", "inner", {"x": x(2, 3, 4, 5), "bias": x(2, 1, 4, 5)},
               attributes={"axis": 2, "is_inner_broadcast": 1}, numpy=softmax)


def positions():
    x = Draw("rotary")
    angles = x.rng.uniform(-3, 3, (12, 8)).astype(np.float32)
    tables = {"cos": np.cos(angles), "sin": np.sin(angles)}
    places = x.rng.integers(0, 12, (2, 5))
    rows, heads = x(2, 5, 48), x(2, 3, 5, 16)
    dims = {"x": ["batch", "tokens", 48], "at": ["batch", "tokens"]}
    op, constants = "RotaryEmbedding", ("cos", "sin")
    yield Case(op, "rows", {"x": rows, "at": places, **tables}, dims=dims, constants=constants)
    yield Case(op, "offset", {"x": rows, "at": np.array([4]), **tables},
               dims={"x": ["batch", "tokens", 48]}, constants=constants)
    yield Case(op, "heads", {"x": heads, "at": places, **tables})
    yield Case(op, "interleaved", {"x": rows, "at": places, **tables},
               attributes={"interleaved": 1}, dims=dims)
    part = {k: v[:, :4] for k, v in tables.items()}
    yield Case(op, "part-of-head", {"x": rows, "at": places, **part},
               attributes={"num_heads": 3, "rotary_embedding_dim": 8}, dims=dims)
    yield Case(op, "packed-batching", {"x": rows, "at": places, **tables},
               attributes={"is_packed_batching": 1, "scale": 1.0})
    three = x.rng.integers(0, 12, (3, 2, 5))
    for name, attributes in (("sections", {"mrope_section": [3, 3, 2]}),
                             ("interleaved", {"mrope_section": [4, 2, 2], "mrope_layout": 1}),
                             ("one-stream", {"mrope_section": [8, 0, 0], "interleaved": 1})):
        yield Case("MRotaryEmbedding", name, {"x": rows, "at": three, **tables},
                   attributes={"num_heads": 3, **attributes})

    def buckets(table, queries, keys, bidirectional, longest):
        # Of transformers' T5, whose biases the op computes.
        import torch
        from transformers.models.t5.modeling_t5 import T5Attention
        distance = torch.arange(int(keys[0]))[None] - torch.arange(int(queries[0]))[:, None]
        bucket = T5Attention._relative_position_bucket(
            distance, bidirectional, table.shape[0], longest).numpy()
        # The table lies column by column.
        return table.reshape(table.shape[::-1])[:, bucket][None]

    for name, count, flag, longest in (("both-sides", 24, 1, 20), ("past-alone", 40, 0, 30)):
        yield Case("RelativePositionBias", name,
                   {"table": x(8 if flag else 16, 3), "queries": np.array([count]),
                    "keys": np.array([count])},
                   attributes={"is_bidirectional": flag, "max_distance": longest},
                   constants=("queries", "keys"),
                   numpy=lambda table, queries, keys, flag=flag, longest=longest: buckets(
                       table, queries, keys, bool(flag), longest))

    def gated(query, query_bias, rel_pos, weight, bias, eco):
        q = (query + query_bias).reshape(2, 5, 3, 8).transpose(0, 2, 1, 3)
        gates = (q @ weight + bias).reshape(2, 3, 5, 2, 2).sum(-1)
        u, r = np.split(1 / (1 + np.exp(-gates)), 2, -1)
        return ((u * (r * eco - 1) + 2) * rel_pos).astype(np.float32)

    yield Case("GatedRelativePositionBias", "f32",
               {"query": x(2, 5, 24), "query_bias": x(24), "rel_pos": x(1, 3, 5, 5),
                "weight": x(8, 4), "bias": x(4), "eco": x(1, 3, 1, 1)},
               attributes={"num_heads": 3}, numpy=gated)


def cases():
    for part in (norms, embeddings, products, activations, positions):
        yield from part()
