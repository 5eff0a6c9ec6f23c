"""Mixtures of experts of com.microsoft, a node each.

ONNX Runtime's CPU kernels know no third matrix, no swiglu in halves, no sparse mixer, are
wrong in f16, and round activations to int8 before 8-bit blocks: there NumPy answers, with
the formula that gives ONNX Runtime's answer in all other cases.
"""
import numpy as np

from .contrib import Case, Draw

F16 = np.float16
EXPERTS, HIDDEN, INNER = 5, 24, 20


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def activated(x, kind):
    with np.errstate(over="ignore"):
        sigmoid = 1 / (1 + np.exp(-x))
    return {"relu": np.maximum(x, 0), "silu": x * sigmoid, "identity": x, "gelu":
            0.5 * x * (1 + np.tanh(0.7978845608 * (x + 0.044715 * x ** 3)))}[kind]


def gated(g, l, alpha, beta, limit):
    if limit is not None:
        g, l = np.minimum(g, limit), np.clip(l, -limit, limit)
    return g / (1 + np.exp(-alpha * g)) * (l + beta)


def sparse_mixer(logits, jitter=0.01):
    """As Phi-MoE's inference has it."""
    picked, weights = [], []
    left = logits.copy()
    for _ in range(2):
        most = left.max(-1, keepdims=True)
        best = left.argmax(-1)
        far = (most - logits) / np.maximum(np.abs(logits), most) > 2 * jitter
        weight = softmax(np.where(far, -np.inf, left))
        picked.append(best)
        weights.append(np.take_along_axis(weight, best[:, None], 1)[:, 0])
        np.put_along_axis(left, best[:, None], -np.inf, 1)
    return np.stack(picked, 1), np.stack(weights, 1)


def mixture(x, router, first, second, third=None, biases=(None, None, None), k=1,
            activation_type="relu", normalize_routing_weights=0, use_sparse_mixer=0,
            activation_alpha=1.0, activation_beta=0.0, swiglu_fusion=0, swiglu_limit=None,
            router_weights=None, **_):
    """Matrices are [experts, columns, rows] of floats."""
    shape, dtype = x.shape, x.dtype
    x = x.reshape(-1, shape[-1]).astype(np.float64)
    logits = router.astype(np.float64)
    if use_sparse_mixer:
        picked, weights = sparse_mixer(logits)
    else:
        scores = softmax(logits)
        picked = np.argsort(-scores, 1, kind="stable")[:, :k]
        scores = scores if router_weights is None else router_weights.astype(np.float64)
        weights = np.take_along_axis(scores, picked, 1)
        if normalize_routing_weights:
            weights = weights / weights.sum(1, keepdims=True)
    biases = [np.zeros(1) if b is None else b.astype(np.float64) for b in biases]
    at = lambda b, e: b[e] if b.ndim == 2 else 0
    y = np.zeros(x.shape)
    for t in range(len(x)):
        for e, w in zip(picked[t], weights[t]):
            up = first[e].astype(np.float64) @ x[t] + at(biases[0], e)
            if activation_type == "swiglu":
                half = len(up) // 2
                pair = {0: (up, None), 1: (up[0::2], up[1::2]), 2: (up[:half], up[half:])}
                g, l = pair[swiglu_fusion]
                if l is None:
                    l = third[e].astype(np.float64) @ x[t] + at(biases[2], e)
                up = gated(g, l, activation_alpha, activation_beta, swiglu_limit)
            else:
                up = activated(up, activation_type)
                if third is not None:
                    up = up * (third[e].astype(np.float64) @ x[t] + at(biases[2], e))
            y[t] += w * (second[e].astype(np.float64) @ up + at(biases[1], e))
    return y.reshape(shape).astype(dtype)


def moe(name, shape=(3, 7), fused=False, third=False, bias=True, dtype=np.float32, numpy=False,
        experts=EXPERTS, **attributes):
    draw = Draw("moe" + name)
    tokens = int(np.prod(shape))
    wide = INNER * (2 if fused else 1)
    inputs = {"input": draw(*shape, HIDDEN, dtype=dtype),
              "router_probs": draw(tokens, experts, dtype=dtype),
              "fc1": draw(experts, wide, HIDDEN, scale=0.3, dtype=dtype),
              "fc1_bias": draw(experts, wide, dtype=dtype) if bias else None,
              "fc2": draw(experts, HIDDEN, INNER, scale=0.3, dtype=dtype),
              "fc2_bias": draw(experts, HIDDEN, dtype=dtype) if bias else None,
              "fc3": draw(experts, INNER, HIDDEN, scale=0.3, dtype=dtype) if third else None,
              "fc3_bias": draw(experts, INNER, dtype=dtype) if third and bias else None}

    def answer(input, router_probs, fc1, fc1_bias, fc2, fc2_bias, fc3, fc3_bias):
        return mixture(input, router_probs, fc1, fc2, fc3, (fc1_bias, fc2_bias, fc3_bias),
                       **attributes)

    return Case("MoE", name, inputs, attributes=attributes, numpy=answer if numpy else None,
                dims={"input": ([] if len(shape) == 1 else ["batch"]) + ["tokens", HIDDEN],
                      "router_probs": ["rows" if len(shape) == 2 else "tokens", experts]},
                constants=[key for key, value in inputs.items()
                           if key.startswith("fc") and value is not None]), answer, inputs


def packed(values, bits):
    """Along the last axis, low bits first."""
    per = 8 // bits
    values = values.astype(np.uint8)
    short = -values.shape[-1] % per
    values = np.concatenate([values, np.zeros(values.shape[:-1] + (short,), np.uint8)], -1)
    return sum(values[..., i::per] << (bits * i) for i in range(per)).astype(np.uint8)


def qmoe(name, bits=4, block=0, zero_points=False, shape=(3, 7), fused=False, third=False,
         bias=True, numpy=False, weighted=False, inner=48, hidden=32, **attributes):
    draw = Draw("qmoe" + name)
    tokens = int(np.prod(shape))
    inputs = {"input": draw(*shape, hidden), "router_probs": draw(tokens, EXPERTS)}
    floats = {}

    def matrix(key, columns, rows, there=True):
        blocks = rows // block if block else 1
        if not there:
            return {key: None, key + "_scales": None, key + "_bias": None}, {key + "_zero": None}
        q = draw.rng.integers(0, 1 << bits, (EXPERTS, columns, rows))
        z = draw.rng.integers(0, 1 << bits, (EXPERTS, columns, blocks))
        scales = draw.rng.uniform(0.01, 0.05, (EXPERTS, columns, blocks)).astype(np.float32)
        zero = z if zero_points else np.full_like(z, 1 << (bits - 1))
        repeat = rows // blocks
        floats[key] = ((q - zero.repeat(repeat, 2)).astype(np.float32)
                       * scales.repeat(repeat, 2))
        zeros = packed(z, bits) if block else packed(z[:, :, 0], bits)
        return ({key: packed(q, bits), key + "_scales": scales if block else scales[:, :, 0],
                 key + "_bias": draw(EXPERTS, columns) if bias else None},
                {key + "_zero": zeros if zero_points else None})

    zeros = {}
    for key, columns, rows, there in (("fc1", inner * (2 if fused else 1), hidden, True),
                                      ("fc2", hidden, inner, True),
                                      ("fc3", inner, hidden, third)):
        own, zero = matrix(key, columns, rows, there)
        inputs.update(own)
        zeros.update(zero)
    inputs.update(zeros)
    inputs["router_weights"] = np.abs(draw(tokens, EXPERTS)) if weighted else None
    full = {"expert_weight_bits": bits, **({"block_size": block} if block else {}), **attributes}

    def answer(**given):
        # ONNX Runtime's softmax is over the chosen alone.
        attributes["normalize_routing_weights"] = attributes.get(
            "normalize_routing_weights", 0) if weighted else 1
        return mixture(given["input"], given["router_probs"], floats["fc1"], floats["fc2"],
                       floats.get("fc3"), [given[f"fc{i}_bias"] for i in (1, 2, 3)],
                       router_weights=given["router_weights"], **attributes)

    return Case("QMoE", name, inputs, attributes=full, numpy=answer if numpy else None,
                dims={"input": ["batch", "tokens", hidden], "router_probs": ["rows", EXPERTS],
                      "router_weights": ["rows", EXPERTS]},
                constants=[key for key, value in inputs.items()
                           if key.startswith("fc") and value is not None]), answer, inputs


SWIGLU = dict(activation_type="swiglu", activation_alpha=1.702, activation_beta=1.0)


def described():
    """Cases, with NumPy's answer and its inputs."""
    for kind in ("relu", "gelu", "silu", "identity"):
        yield moe(kind, k=2, activation_type=kind)
    yield moe("normalized", k=3, activation_type="silu", normalize_routing_weights=1)
    yield moe("no-bias", k=1, bias=False)
    yield moe("rank-2", shape=(9,), k=2, activation_type="silu")
    yield moe("one-token", shape=(1, 1), k=2, activation_type="silu")
    yield moe("all-experts", k=EXPERTS, activation_type="silu")
    yield moe("many-experts", k=4, experts=40, activation_type="silu")
    yield moe("f16", k=2, dtype=F16, numpy=True, activation_type="silu")
    yield moe("swiglu-interleaved", k=2, fused=True, swiglu_fusion=1, **SWIGLU)
    yield moe("swiglu-limit", k=2, fused=True, swiglu_fusion=1, swiglu_limit=1.5, **SWIGLU)
    yield moe("swiglu-halves", k=2, fused=True, swiglu_fusion=2, numpy=True,
              normalize_routing_weights=1, **SWIGLU)
    yield moe("swiglu-third", k=2, third=True, numpy=True, swiglu_limit=1.5, **SWIGLU)
    yield moe("third", k=2, third=True, numpy=True, activation_type="silu")
    yield moe("third-no-bias", k=2, third=True, bias=False, numpy=True, activation_type="gelu")
    yield moe("sparse-mixer", k=2, numpy=True, use_sparse_mixer=1, activation_type="silu")
    yield qmoe("4-columns", k=2, activation_type="silu")
    yield qmoe("8-columns", bits=8, k=2, activation_type="silu")
    yield qmoe("4-columns-zero-points", zero_points=True, k=2, activation_type="silu")
    yield qmoe("8-columns-zero-points", bits=8, zero_points=True, k=2, activation_type="relu")
    yield qmoe("4-blocks", block=16, k=2, activation_type="silu")
    yield qmoe("4-blocks-zero-points", block=16, zero_points=True, k=2, activation_type="silu")
    yield qmoe("8-blocks", bits=8, block=16, k=2, numpy=True, activation_type="silu")
    yield qmoe("8-blocks-zero-points", bits=8, block=16, zero_points=True, k=2, numpy=True,
               activation_type="silu")
    yield qmoe("4-swiglu", fused=True, block=16, k=2, swiglu_fusion=1,
               normalize_routing_weights=1, **SWIGLU)
    yield qmoe("4-third", third=True, numpy=True, k=2, activation_type="silu")
    yield qmoe("4-router-weights", weighted=True, k=2, activation_type="silu")
    yield qmoe("4-router-weights-normalized", weighted=True, k=2, activation_type="silu",
               normalize_routing_weights=1)


def cases():
    for case, _, _ in described():
        yield case
