#!/usr/bin/env python3
"""Writes generated.json: what PyTorch's `generate` writes with models of test/models.

    make_generated.py [--only SUBSTRING]

Needs PyTorch and transformers. Two texts of 200 tokens for each family: greedy, and
greedy with a repetition penalty of 1.3, because random models soon say one thing for
ever. f32, the attention that transformers calls eager. `close` lists where the two
best logits lie within 1e-4: there, and nowhere else, another token is no mistake.
"""
import argparse
import json
import logging
import pathlib
import sys

import numpy as np
import torch
import transformers as tf

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "models"))
from references import decoders, feeds, long, seq2seq  # noqa: E402

TOKENS, PENALTY, CLOSE = 200, 1.3, 1e-4
DECODERS = ["gpt2-long", "llama", "qwen3", "gemma2", "phi3", "gpt-oss"]
SEQ2SEQ = ["t5", "bart-long", "whisper-long"]


def write(model, inputs, **options):
    model.generation_config.eos_token_id = None
    for name in ("forced_bos_token_id", "forced_eos_token_id", "suppress_tokens",
                 "begin_suppress_tokens"):
        setattr(model.generation_config, name, None)
    with torch.no_grad():
        # Whisper has a `generate` of its own, for speech of any length.
        out = tf.GenerationMixin.generate(
            model, **inputs, do_sample=False, max_new_tokens=TOKENS,
            num_beams=1, output_scores=True, pad_token_id=0,
            return_dict_in_generate=True, **options)
    tokens = out.sequences[0, -len(out.scores):].tolist()
    assert len(tokens) == TOKENS, len(tokens)
    best = [torch.topk(scores[0], 2).values.tolist() for scores in out.scores]
    return {"tokens": tokens,
            "close": [i for i, (a, b) in enumerate(best) if a - b < CLOSE]}


def row_of(family):
    model = family.module("eager").model
    rng = feeds.generator(family.group, "generate")
    if family.group in DECODERS:
        prompt = rng.integers(3, 101, 20).tolist()
        row = {"prompt": prompt}
        ids = torch.tensor([prompt])
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    elif family.group.startswith("whisper"):
        features = rng.standard_normal((1, seq2seq.MEL, seq2seq.FRAMES), np.float32)
        start = [model.config.decoder_start_token_id, 7, 9]
        row = {"features": features[0].round(3).tolist(), "start": start}
        inputs = {"input_features": torch.tensor([row["features"]]),
                  "decoder_input_ids": torch.tensor([start])}
    else:
        source = rng.integers(3, 101, 90).tolist()
        start = [model.config.decoder_start_token_id]
        row = {"source": source, "start": start}
        ids = torch.tensor([source])
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids),
                  "decoder_input_ids": torch.tensor([start])}
    row["greedy"] = write(model, inputs)
    row["penalty"] = write(model, inputs, repetition_penalty=PENALTY)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="")
    only = parser.parse_args().only
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    path = HERE / "generated.json"
    rows = json.loads(path.read_text()) if path.exists() else {}
    every = {}
    for family in [*decoders.families(set(DECODERS)), *seq2seq.families(), *long.families()]:
        if family.group in DECODERS + SEQ2SEQ and only in family.group:
            every.setdefault(family.group, family)
    for name, family in every.items():
        rows[name] = row_of(family)
        print(name, *(f"{len(set(rows[name][k]['tokens']))} words, close {rows[name][k]['close']}"
                      for k in ("greedy", "penalty")), flush=True)
    lines = [f' "{name}": {json.dumps(row)}' for name, row in sorted(rows.items())]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
