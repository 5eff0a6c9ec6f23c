#!/usr/bin/env python3
"""Embeds sentences with a compiled all-MiniLM-L6-v2 and prints how alike they are.

    embed_sentences.py FERRITE MINILM.so TOKENIZER.json [SENTENCE...]

Tokenizes with the model's own tokenizer, runs `ferrite run`, prints the cosine
similarities, and what `ferrite bench` measures for one sentence and for a batch.
"""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
from tokenizers import Tokenizer

SENTENCES = [
    "A man is eating food.",
    "Someone eats a meal.",
    "The compiler emits machine code.",
    "LLVM lowers the program to instructions.",
]


def encode(tokenizer, sentences):
    tokenizer.enable_padding()
    encodings = tokenizer.encode_batch(sentences)
    return {
        "input_ids": np.array([e.ids for e in encodings], np.int64),
        "attention_mask": np.array([e.attention_mask for e in encodings], np.int64),
        "token_type_ids": np.array([e.type_ids for e in encodings], np.int64),
    }


def bench(ferrite, artifact, threads, batch, tokens):
    shape = f"{batch}x{tokens}"
    shapes = [f"--shape={name}={shape}"
              for name in ("input_ids", "attention_mask", "token_type_ids")]
    out = subprocess.run([ferrite, "bench", artifact, "--json", "--threads", str(threads),
                          "--seconds", "1", *shapes], check=True, stdout=subprocess.PIPE)
    return min(json.loads(out.stdout)["samples_s"])


def main():
    ferrite, artifact, vocabulary, *sentences = sys.argv[1:]
    sentences = sentences or SENTENCES
    feed = encode(Tokenizer.from_file(vocabulary), sentences)
    with tempfile.TemporaryDirectory() as scratch:
        inputs, outputs = (os.path.join(scratch, name) for name in ("in.npz", "out.npz"))
        np.savez(inputs, **feed)
        subprocess.run([ferrite, "run", artifact, "--inputs", inputs, "--outputs", outputs],
                       check=True)
        vectors = np.load(outputs)["sentence_embedding"]
    width = max(len(s) for s in sentences)
    for i, sentence in enumerate(sentences):
        row = "  ".join(f"{vectors[i] @ vectors[j]:6.3f}" for j in range(len(sentences)))
        print(f"{sentence:{width}}  {row}")

    threads = len(os.sched_getaffinity(0))
    print(f"\n{'batch':>5} {'tokens':>6} {'threads':>7} {'latency':>11} {'sentences/s':>12}")
    for count, batch, tokens in [(1, 1, 16), (1, 1, 128), (threads, 1, 128), (threads, 32, 16)]:
        seconds = bench(ferrite, artifact, count, batch, tokens)
        print(f"{batch:5} {tokens:6} {count:7} {seconds * 1e3:8.2f} ms {batch / seconds:12.0f}")


if __name__ == "__main__":
    main()
