#!/usr/bin/env python3
"""Writes vit-merge.npz: what run_merge.py compares with.

    make_merge.py                     with PyTorch and transformers; the file is committed

The ViT of ../models with its tokens merged as the paper has it (Token Merging: Your ViT
But Faster, Bolya et al., 2023, appendix D): bipartite soft matching of the means of keys,
attention that adds the logarithm of sizes, means weighted by sizes. Written from the
paper's text with argsort, gather and scatter_reduce; tokens are given back by the matrix
of what merged with what.
"""
import math
import pathlib
import sys

import numpy as np
import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "models"))

from references import classic  # noqa: E402

# name: (tokens that each layer merges, whether the class token may not merge)
CASES = {"two": ((2, 2), True), "six": ((6, 5), True), "second": ((0, 4), True),
         "free": ((3, 3), False)}


def matching(metric, r, keeps_class):
    """A function that sums (or takes the largest of) rows that become one."""
    metric = metric / metric.norm(dim=-1, keepdim=True)
    a, b = metric[:, ::2], metric[:, 1::2]
    scores = a @ b.transpose(-1, -2)
    if keeps_class:
        scores[:, 0, :] = -math.inf
    best, target = scores.max(dim=-1)
    order = best.argsort(dim=-1, descending=True)[..., None]
    stay, gone = order[:, r:], order[:, :r]
    to = target[..., None].gather(1, gone)
    stay = stay.sort(dim=1)[0]

    def merge(x, mode="sum"):
        even, odd = x[:, ::2], x[:, 1::2]
        n, _, c = even.shape
        kept = even.gather(1, stay.expand(n, stay.shape[1], c))
        left = even.gather(1, gone.expand(n, r, c))
        odd = odd.scatter_reduce(1, to.expand(n, r, c), left, reduce=mode)
        return torch.cat([kept, odd], dim=1)
    return merge


def forward(model, pixels, removed, keeps_class):
    config = model.config
    heads, depth = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    x = model.embeddings(pixels)
    n, t, c = x.shape
    size = torch.ones(n, t, 1, dtype=x.dtype)
    source = torch.eye(t, dtype=x.dtype).expand(n, t, t)
    named = dict(model.named_parameters())
    prefix = sorted(k for k in named if k.endswith("layernorm_before.weight"))

    def linear(x, stem):
        return torch.nn.functional.linear(x, named[stem + ".weight"], named.get(stem + ".bias"))

    def norm(x, stem):
        return torch.nn.functional.layer_norm(x, (c,), named[stem + ".weight"],
                                              named[stem + ".bias"], config.layer_norm_eps)

    def find(layer, *ends):
        return next(k[:-len(".weight")] for k in named
                    if k.startswith(layer) and k.endswith(tuple(e + ".weight" for e in ends)))
    for r, first in zip(removed, prefix):
        layer = first[:-len("layernorm_before.weight")]
        h = norm(x, layer + "layernorm_before")
        q, k, v = (linear(h, find(layer, *ends)).view(n, -1, heads, depth).transpose(1, 2)
                   for ends in ((".query", ".q_proj"), (".key", ".k_proj"),
                                (".value", ".v_proj")))
        scores = q @ k.transpose(-1, -2) * depth ** -0.5 + size.log()[:, None, None, :, 0]
        h = (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, -1, c)
        x = x + linear(h, find(layer, "attention.output.dense", ".o_proj"))
        if r:
            merge = matching(k.mean(1), r, keeps_class)
            x = merge(x * size)
            size = merge(size)
            x = x / size
            source = merge(source, "amax")
        h = norm(x, layer + "layernorm_after")
        h = torch.nn.functional.gelu(linear(h, find(layer, "intermediate.dense", ".fc1")))
        x = x + linear(h, find(layer, layer + "output.dense", ".fc2"))
    x = norm(x, "layernorm")
    full = source.transpose(1, 2) @ x
    return full, torch.tanh(linear(full[:, 0], "pooler.dense")), size[..., 0]


def main():
    module = classic.build("vit", "eager", torch.float32)
    feeds = classic.cases("vit", module)
    out = {}
    with torch.no_grad():
        model = module.vit.double()
        dense = np.load(HERE / "vit.b5.npz")
        pixels = torch.from_numpy(feeds["b5"][0]["pixel_values"]).double()
        plain = forward(model, pixels, (0, 0), True)[0].numpy()
        assert np.abs(plain - dense["out.last_hidden_state"]).max() < 1e-5
        for name, (removed, keeps_class) in CASES.items():
            full, pooled, size = forward(model, pixels, removed, keeps_class)
            out[f"{name}.last_hidden_state"] = full.float().numpy()
            out[f"{name}.pooler_output"] = pooled.float().numpy()
            print(name, size[0].int().tolist(), np.abs(full.numpy() - plain).max())
    np.savez_compressed(HERE / "vit-merge.npz", **out)


if __name__ == "__main__":
    main()
