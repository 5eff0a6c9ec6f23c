"""Decoders in 16 bits: weights, caches and arithmetic."""
import dataclasses

import numpy as np
import torch

from . import decoders

D20 = ("dynamo", 20, "sdpa")
TYPES = {"f16": torch.float16, "bf16": torch.bfloat16}
CASES = ("b1-s8-p0", "b2-s1-p11-left", "b3-s4-p9-right")


def to_bits(values, dtype):
    """NumPy's half, or the bits of bfloat16, which it has not."""
    if dtype == torch.float16:
        return values.astype(np.float16)
    return torch.from_numpy(values).to(torch.bfloat16).view(torch.uint16).numpy()


def call(model, feed):
    """The reference is computed in float32 from the same rounded caches."""
    def given(name, value):
        return value.to(model.dtype) if name.startswith("past_") else value
    return decoders.call_cached(model, {n: given(n, v) for n, v in feed.items()})


def families():
    for name, dtype in TYPES.items():
        table = {f"llama-{name}": decoders.DECODERS["llama"]}
        for family in decoders.families(table=table):
            if not family.name.endswith("-kv"):
                continue

            def cases(family=family, dtype=dtype):
                return {case: {n: to_bits(v, dtype) if n.startswith("past_") else v
                               for n, v in feed.items()}
                        for case, feed in family.cases().items() if case in CASES}
            yield dataclasses.replace(family, cases=cases, call=call, dtype=dtype,
                                      exports=[D20], example=2)
