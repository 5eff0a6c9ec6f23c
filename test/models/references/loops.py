"""Mixtures whose experts are a loop, as transformers wrote them before version 5 and as
exporters of it (optimum) still do: turn e finds the tokens of expert e with `nonzero`,
computes rows for them and adds those with index_add. How many rows there are depends on
data, so the turns must come out as one product of the chosen experts.
"""
import functools
import types

import torch
from torch.nn import functional

from . import decoders
from .decoders import D20, L17


def slots(self, chosen, expert):
    """(choice, token) of the slots of an expert."""
    mask = functional.one_hot(chosen, num_classes=self.num_experts).permute(2, 1, 0)
    return torch.where(mask[expert])


class SeparateExperts(torch.nn.Module):
    """Three matrices each, as in Mixtral of transformers 4; rows by x[None, tokens]."""

    def __init__(self, stacked):
        super().__init__()
        count, hidden, inner = (stacked.num_experts, stacked.hidden_dim,
                                stacked.intermediate_dim)
        self.num_experts = count
        self.experts = torch.nn.ModuleList(torch.nn.ModuleDict({
            "w1": torch.nn.Linear(hidden, inner, bias=False),
            "w2": torch.nn.Linear(inner, hidden, bias=False),
            "w3": torch.nn.Linear(hidden, inner, bias=False)}) for _ in range(count))

    def forward(self, rows, chosen, weights):
        total = torch.zeros_like(rows)
        for i, expert in enumerate(self.experts):
            choice, token = slots(self, chosen, i)
            own = rows[None, token].reshape(-1, rows.shape[-1])
            own = expert["w2"](functional.silu(expert["w1"](own)) * expert["w3"](own))
            total.index_add_(0, token, (own * weights[token, choice, None]).to(rows.dtype))
        return total


def stacked(self, rows, chosen, weights):
    """Slices of stacked matrices; what is there of a token is read, joined and put back."""
    total = torch.zeros_like(rows)
    for i in range(self.num_experts):
        token, choice = torch.where(chosen == i)
        gate, up = functional.linear(rows[token], self.gate_up_proj[i]).chunk(2, dim=-1)
        own = functional.linear(self.act_fn(gate) * up, self.down_proj[i])
        total[token] += weights[token, choice, None] * own
    return total


def scattered(self, rows, chosen, weights):
    """gpt-oss: biases, interleaved halves, and weights scattered over all experts."""
    dense = torch.zeros(rows.shape[0], self.num_experts, dtype=weights.dtype)
    dense = dense.scatter(1, chosen, weights)
    total = torch.zeros_like(rows)
    for i in range(self.num_experts):
        _, token = slots(self, chosen, i)
        both = rows[token] @ self.gate_up_proj[i] + self.gate_up_proj_bias[i]
        own = self._apply_gate(both) @ self.down_proj[i] + self.down_proj_bias[i]
        total.index_add_(0, token, (own * dense[token, i, None]).to(rows.dtype))
    return total


# Decoder -> (what replaces its experts, exports without cache, exports with cache).
LOOPS = {
    "mixtral": (SeparateExperts, [D20, L17], [L17]),
    "qwen3-moe": (stacked, [D20, L17], [D20]),
    "gpt-oss": (scattered, [D20, L17], [L17]),
}


def with_loops(loop, build):
    def made(attention):
        model = build(attention)
        for layer in model.model.layers:
            if isinstance(loop, type):
                layer.mlp.experts = loop(layer.mlp.experts)
            else:
                layer.mlp.experts.forward = types.MethodType(loop, layer.mlp.experts)
        return model
    return made


def families():
    table = {}
    for name, (loop, plain, cached) in LOOPS.items():
        prefix, fields, attention, _, _, positions = decoders.DECODERS[name]
        table[f"{name}-loops"] = (prefix, dict(fields, intermediate_size=24), attention,
                                  plain, cached, positions,
                                  functools.partial(with_loops, loop))
    yield from decoders.families(table=table)
