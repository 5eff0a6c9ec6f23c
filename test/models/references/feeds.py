"""Inputs of the cases: token ids with padding, images, caches."""
import zlib

import numpy as np

# Case: (batch, sequence, side of the padding, lengths of the rows).
TEXT = {"b1-s9": (1, 9, "right", [9]),
        "b3-s16-right": (3, 16, "right", [16, 11, 5]),
        "b2-s23-left": (2, 23, "left", [23, 8])}
# Case: (batch, new tokens, past, what of each row's columns is padding on the left,
# and what of the past on the right).
CACHED = {"b1-s8-p0": (1, 8, 0, [0], [0]),
          "b3-s5-p0-left": (3, 5, 0, [0, 2, 4], [0, 0, 0]),
          "b2-s1-p11-left": (2, 1, 11, [0, 7], [0, 0]),
          "b3-s4-p9-right": (3, 4, 9, [0, 0, 0], [0, 3, 6])}


def generator(seed, case):
    return np.random.default_rng(zlib.crc32(f"{seed} {case}".encode()))


def text(seed, case, vocab, pad=0):
    batch, length, side, rows = TEXT[case]
    rng = generator(seed, case)
    ids = rng.integers(3, vocab, (batch, length), dtype=np.int64)
    types = np.sort(rng.integers(0, 2, (batch, length), dtype=np.int64), axis=1)
    column, n = np.arange(length)[None], np.array(rows)[:, None]
    real = column < n if side == "right" else column >= length - n
    return {"input_ids": np.where(real, ids, pad), "attention_mask": real.astype(np.int64),
            "token_type_ids": np.where(real, types, 0)}


def positions(mask, new):
    """Of the last `new` columns, counted over what is not padding."""
    return np.maximum(mask.cumsum(1) - 1, 0)[:, mask.shape[1] - new:]


def cached(seed, case, vocab, caches):
    """`caches` is a list of (name, heads, head size)."""
    batch, new, past, left, right = CACHED[case]
    rng = generator(seed, case)
    column = np.arange(past + new)[None]
    left, right = np.array(left)[:, None], np.array(right)[:, None]
    hole = (column >= past - right) & (column < past)
    mask = ((column >= left) & ~hole).astype(np.int64)
    feed = {"input_ids": rng.integers(3, vocab, (batch, new), dtype=np.int64),
            "attention_mask": mask, "position_ids": positions(mask, new)}
    for name, heads, size in caches:
        feed[name] = rng.standard_normal((batch, heads, past, size), np.float32)
    return feed


def real_tokens(feed, output, value):
    """What matters of a decoder's output: the tokens and cached keys that are real."""
    mask = feed["attention_mask"].astype(bool)
    if output.startswith("present"):
        return mask[:, None, :, None]
    return mask[:, mask.shape[1] - value.shape[1]:, None]


def images(seed, batches, shape):
    rng = generator(seed, "images")
    return {f"b{n}": {"pixel_values": rng.standard_normal((n, *shape), np.float32)}
            for n in batches}
