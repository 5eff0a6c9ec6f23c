#!/usr/bin/env python3
"""Writes llama-kv-parts.npz: what run_parts.py compares with.

    make_parts.py                     with ONNX Runtime; the file is committed

The graph of llama-kv.torchscript-17-sdpa.onnx is changed for each answer: values inside
it become outputs, or inputs, so that ONNX Runtime computes it with given embeddings, with
a mask of blocks, or with a layer left out. Eight tokens, no past.
"""
import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parent / "models" / "llama-kv.torchscript-17-sdpa.onnx"
EMBEDDED = "/model/model/embed_tokens/Gather_output_0"
STREAMS = [EMBEDDED] + [f"/model/model/layers.{i}/Add_1_output_0" for i in range(2)]
SCORES = [f"/model/model/layers.{i}/self_attn/Add_2_output_0" for i in range(2)]
MASKS = [f"/model/model/layers.{i}/self_attn/Where_2_output_0" for i in range(2)]


def run(feeds, outputs=("logits",), rename=(), inputs=()):
    """`rename`: readers of one value read another. `inputs`: values that are given."""
    model = onnx.load(SOURCE)
    graph = model.graph
    for old, new in rename:
        for node in graph.node:
            for i, name in enumerate(node.input):
                if name == old:
                    node.input[i] = new
    for name, shape in inputs:
        for node in graph.node:
            for i, made in enumerate(node.output):
                if made == name:
                    node.output[i] = name + "_unused"
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    for name in outputs:
        if name != "logits":
            graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(list(outputs), feeds)


def main():
    random = np.random.default_rng(7)
    with np.load(HERE / "llama-kv.b1-s8-p0.npz") as file:
        feeds = {n[3:]: file[n] for n in file.files if n.startswith("in.")}
    ids = feeds["input_ids"]
    count = ids.shape[1]
    values = run(feeds, ["logits", *STREAMS, *SCORES])
    result = {"ids": ids[0], "logits": values[0][0]}
    for i in range(3):
        result[f"hidden{i}"] = values[1 + i][0]
    for i in range(2):
        scores = values[4 + i][0].astype(np.float64)  # [heads, tokens, keys]
        top = scores.max(-1)
        sums = top + np.log(np.exp(scores - top[..., None]).sum(-1))
        result[f"lse{i}"] = sums.T.astype(np.float32)
    # Every other token is given as an embedding.
    given = random.standard_normal(result["hidden0"].shape).astype(np.float32)
    chosen = np.arange(count) % 2 == 1
    rows = np.where(chosen[:, None], given, result["hidden0"])[None].astype(np.float32)
    [logits] = run({**feeds, EMBEDDED: rows}, inputs=[(EMBEDDED, rows.shape)])
    result.update(embeddings=given, embedded=chosen, embedded_logits=logits[0])
    # Tokens see all of their block of four, and the blocks before it.
    block = np.arange(count) // 4
    seen = block[:, None] >= block[None, :]
    mask = np.where(seen, 0, -np.inf).astype(np.float32)[None, None]
    [logits] = run({**feeds, **{name: mask for name in MASKS}},
                   inputs=[(name, mask.shape) for name in MASKS])
    result["block_logits"] = logits[0]
    for layer in range(2):
        [logits] = run(feeds, rename=[(STREAMS[layer + 1], STREAMS[layer])])
        result[f"skip{layer}_logits"] = logits[0]
    np.savez_compressed(HERE / "llama-kv-parts.npz", **result)


if __name__ == "__main__":
    main()
