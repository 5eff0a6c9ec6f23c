#!/usr/bin/env python3
"""Writes decoders.json: what ONNX Runtime writes with the decoders of test/models.

    make_decoders.py [--models FOLDER]

Needs onnxruntime 1.23. Two texts of 200 tokens for each family, from one export of it
(exports of a family share weights): greedy, and greedy with a frequency penalty of 2,
because some random models else say one word for ever. A text ends early where the
model has no more positions. `gap` is the least distance of the two best logits: below
1e-4 another choice would be no mistake.
"""
import argparse
import json
import pathlib

import numpy as np
import onnxruntime

HERE = pathlib.Path(__file__).resolve().parent
PENALTY, TOKENS = 2.0, 200


class Decoder:
    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 4, 1
        self.session = onnxruntime.InferenceSession(str(path), options,
                                                    providers=["CPUExecutionProvider"])
        self.inputs = self.session.get_inputs()
        self.past = [i for i in self.inputs if "past" in i.name]
        self.reset()

    def reset(self):
        self.position = 0
        self.cache = {i.name: np.zeros([1 if axis == 0 else 0 if isinstance(d, str) else d
                                        for axis, d in enumerate(i.shape)], np.float32)
                      for i in self.past}

    def logits(self, ids):
        end = self.position + len(ids)
        feed = dict(self.cache)
        for i in self.inputs:
            if i.name == "input_ids":
                feed[i.name] = np.array([ids])
            elif "attention_mask" in i.name:
                feed[i.name] = np.ones((1, end), np.int64)
            elif i.name == "position_ids":
                feed[i.name] = np.arange(self.position, end)[None]
            elif i.name not in feed:
                raise SystemExit(f"what is the input {i.name}?")
        out = self.session.run(None, feed)
        self.position = end
        self.cache = {i.name: value for i, value in zip(self.past, out[1:])}
        return out[0][0, -1]

    def write(self, prompt, penalty):
        self.reset()
        ids, tokens, gap = prompt, [], np.inf
        while len(tokens) < TOKENS:
            try:
                logits = self.logits(ids).copy()
            except Exception as error:  # onnxruntime's errors have no class in common
                if "out of data bounds" not in str(error) and "GatherElements" not in str(error):
                    raise
                break
            for token in tokens:
                logits[token] -= np.float32(penalty)
            best = np.sort(logits)
            gap = min(gap, float(best[-1] - best[-2]))
            ids = [int(logits.argmax())]
            tokens += ids
        return {"tokens": tokens, "gap": float(f"{gap:.1e}")}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=pathlib.Path, default=HERE.parent / "models")
    folder = parser.parse_args().models
    answer = {}
    for path in sorted(folder.glob("*-kv.*.onnx")):
        family = path.name.split(".")[0]
        if family in answer or "-decoder" in family:  # those attend to an encoder, too
            continue
        decoder = Decoder(path)
        vocabulary = decoder.logits([1]).shape[0]
        prompt = np.random.default_rng(7).integers(3, vocabulary, 20).tolist()
        answer[family] = {"prompt": prompt, "greedy": decoder.write(prompt, 0.0),
                          "penalty": decoder.write(prompt, PENALTY)}
        print(family, len(answer[family]["greedy"]["tokens"]),
              *(f"{len(set(answer[family][k]['tokens']))} words, gap {answer[family][k]['gap']}"
                for k in ("greedy", "penalty")))
    lines = [f' "{family}": {json.dumps(row)}' for family, row in sorted(answer.items())]
    (HERE / "decoders.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
