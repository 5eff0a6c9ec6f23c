#!/usr/bin/env python3
"""Makes a model whose weights are larger than what 32 bits can address.

    make_large.py OUT [--gib 3] [--size 8192]

Writes OUT/large.onnx, OUT/large.weights, OUT/in.npz and OUT/expected.npz. Needs
onnx and NumPy; for the slow tier of the tests.

The graph is a chain of residual layers, x + x @ W[k], over x of [tokens, size].
The file of weights is sparse: each matrix is zero but for 64 entries, the last of
the matrix among them, so 3 GiB take a few megabytes of disk and are written in an
instant. Inputs and entries are small integers: every sum is exact in float32
whatever its order, so results are compared for equality, and a matrix read from a
wrong offset cannot go unnoticed.
"""
import argparse
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper

ENTRIES = 64
TOKENS = 3


def layer_entries(layer, size):
    """Rows, columns and values of the non-zero entries of one matrix."""
    rng = np.random.default_rng([20240607, layer])
    # Even layers read even columns of x and write odd ones, odd layers the reverse:
    # each layer sees what the one before it wrote.
    rows = 2 * rng.choice(size // 2, ENTRIES, replace=False)
    columns = 2 * rng.choice(size // 2, ENTRIES, replace=False) + 1
    if layer % 2:
        rows, columns = rows + 1, columns - 1
    # The first and the last element that this parity allows.
    rows[0], columns[0] = layer % 2, 1 - layer % 2
    rows[-1], columns[-1] = size - 2 + layer % 2, size - 1 - layer % 2
    values = rng.choice(np.array([-2, -1, 1, 2], np.float32), ENTRIES)
    return rows, columns, values


def write_weights(path, layers, size):
    step = size * size * 4
    with open(path, "wb") as file:
        file.truncate(layers * step)
        for layer in range(layers):
            # A place drawn twice is written twice: the last value counts.
            for row, column, value in zip(*layer_entries(layer, size)):
                file.seek(layer * step + (int(row) * size + int(column)) * 4)
                file.write(value.astype("<f4").tobytes())


def make_graph(layers, size, location):
    step = size * size * 4
    nodes, weights, x = [], [], "x"
    for layer in range(layers):
        weight = TensorProto(name=f"layer.{layer}.weight", data_type=TensorProto.FLOAT,
                             dims=[size, size], data_location=TensorProto.EXTERNAL)
        for key, value in (("location", location), ("offset", layer * step), ("length", step)):
            weight.external_data.add(key=key, value=str(value))
        weights.append(weight)
        product, y = f"product.{layer}", "y" if layer == layers - 1 else f"x.{layer}"
        nodes += [helper.make_node("MatMul", [x, weight.name], [product], f"/layer.{layer}/MatMul"),
                  helper.make_node("Add", [x, product], [y], f"/layer.{layer}/Add")]
        x = y
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["tokens", size])
    graph = helper.make_graph(nodes, "large", [value("x")], [value("y")], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10,
                             producer_name="ferrite make_large.py")


def expected(x, layers, size):
    x, bound = x.astype(np.float64), np.abs(x).astype(np.float64)
    for layer in range(layers):
        y, above = x.copy(), bound.copy()
        entries = {(r, c): v for r, c, v in zip(*(a.tolist() for a in layer_entries(layer, size)))}
        for (row, column), value in entries.items():
            y[:, column] += x[:, row] * value
            above[:, column] += bound[:, row] * abs(value)
        x, bound = y, above
    assert bound.max() < 2 ** 24, "not exact in float32: fewer layers, please"
    return x.astype(np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--gib", type=float, default=3, help="size of the weights")
    parser.add_argument("--size", type=int, default=8192, help="rows and columns of a matrix; even")
    args = parser.parse_args()
    layers = max(1, round(args.gib * 2 ** 30 / (4 * args.size ** 2)))
    args.out.mkdir(parents=True, exist_ok=True)
    write_weights(args.out / "large.weights", layers, args.size)
    onnx.save(make_graph(layers, args.size, "large.weights"), args.out / "large.onnx")
    x = np.random.default_rng(7).integers(-8, 9, (TOKENS, args.size)).astype(np.float32)
    np.savez(args.out / "in.npz", x=x)
    np.savez(args.out / "expected.npz", y=expected(x, layers, args.size))
    print(f"{args.out / 'large.onnx'}: {layers} matrices of {args.size} x {args.size}, "
          f"{layers * args.size ** 2 * 4 / 2 ** 30:.2f} GiB of weights")


if __name__ == "__main__":
    main()
