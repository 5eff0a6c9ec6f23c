#!/usr/bin/env python3
"""Makes the small models of test/models and the PyTorch references of test/e2e.

    make_references.py [--only llama,t5,...] [--rewritten [SUBSTRING]]
                       [--operators [SUBSTRING]] [--quantized [SUBSTRING]]

Run by developers when a model is added, never by tests: it needs PyTorch,
transformers, ONNX Runtime and onnxscript, and rewrites the files that tests read.
--only names groups (families that share weights); --rewritten makes the graphs of
references/rewritten.py and windowed.py from the exports that are there; --operators the models of one
com.microsoft node each; --quantized those of few bits. references/ has the tables.
"""
import argparse
import itertools
import logging
import sys

import torch

from references import (classic, contrib, decoders, encoders, long, loops, quantized,
                        rewritten, seq2seq, short, vision, windowed)
from references.family import make_group


def groups():
    every = {}
    for family in itertools.chain(decoders.families(), loops.families(),
                                  encoders.families(), vision.families(),
                                  seq2seq.families(), long.families(), short.families()):
        every.setdefault(family.group, []).append(family)
    return every


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="groups, separated by commas (default: all)")
    parser.add_argument("--rewritten", nargs="?", const="", metavar="SUBSTRING")
    parser.add_argument("--quantized", nargs="?", const="", metavar="SUBSTRING")
    parser.add_argument("--operators", nargs="?", const="", metavar="SUBSTRING")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    if args.rewritten is not None:
        return 0 if rewritten.make(args.rewritten) & windowed.make(args.rewritten) else 1
    if args.quantized is not None:
        return 0 if quantized.make(args.quantized) else 1
    if args.operators is not None:
        return 0 if contrib.make(args.operators) else 1
    every, good = groups(), True
    for name in args.only.split(",") if args.only else [*classic.FAMILIES, *every]:
        if name in classic.FAMILIES:
            classic.make(name)
        else:
            good &= make_group(every[name])
    if not args.only:
        good &= rewritten.make()
        good &= windowed.make()
        good &= quantized.make()
        good &= contrib.make()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
