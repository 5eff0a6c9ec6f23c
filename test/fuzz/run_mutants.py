#!/usr/bin/env python3
"""Compiles spoilt copies of small valid models with the normal program.

    run_mutants.py FERRITE [--count 300] [--seed 1] [--keep DIR] [--models ONNX ...]

Half of them have bytes changed, half a field: a dim, a type, an attribute, a name, an
op, an input, at random but the same each time. Whatever comes out, the program ends
within 10 s and 2 GB with code 0, 1 or 2, says one line when it fails, and leaves no
file then. The models given are spoilt besides the tests' own.
"""
import argparse
import concurrent.futures
import os
import pathlib
import random
import re
import resource
import subprocess
import sys
import tempfile

TEST = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TEST / "hostile"))
import corpus
import op_cases  # noqa: F401
import seeds
from corpus import T, onnx

SECONDS, BYTES = 10, 2 << 30
EDGES = [0, 1, -1, 2, 3, 4, 5, 7, 8, 16, 63, 64, 127, 128, 255, 256, 2**15, 2**31 - 1, -2**31, 2**31, 2**32,
         2**40, 2**62, 2**63 - 1, -2**63, 10**6]


def all_seeds(given):
    """Small models that compile, and the ops of the hostile corpus."""
    found = [corpus.small().SerializeToString(), *(data for data in seeds.build().values() for _ in range(3))]
    found += [path.read_bytes() for path in sorted((TEST / "models").glob("*.onnx")) if path.stat().st_size < 60000]
    names = [name for name in corpus.CASES if corpus.CASES[name][2].__module__ == "op_cases"]
    found += [corpus.build(name, None) for name in names]
    return found + [pathlib.Path(path).read_bytes() for path in given]


def spoil_bytes(draw, data):
    data = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 4, 16])):
        kind, at = draw.random(), draw.randrange(len(data))
        if kind < 0.4:
            data[at] = draw.randrange(256)
        elif kind < 0.6:
            data[at] ^= 1 << draw.randrange(8)
        elif kind < 0.7:
            del data[at:at + draw.randrange(1, 9)]
        elif kind < 0.8:
            data[at:at] = draw.randbytes(draw.randrange(1, 9))
        elif kind < 0.9:
            data[at:at + 8] = data[draw.randrange(len(data)):][:8]
        else:
            del data[at:]
        if not data:
            return b"\0"
    return bytes(data)


def spoil_node(draw, graph):
    if not graph.node:
        return
    node = draw.choice(graph.node)
    kind = draw.randrange(9)
    names = [each for other in graph.node for each in [*other.input, *other.output]] + [""]
    if kind == 0 and node.input:
        node.input[draw.randrange(len(node.input))] = draw.choice(names)
    elif kind == 1 and node.input:
        node.input.pop(draw.randrange(len(node.input)))
    elif kind == 2:
        node.input.append(draw.choice(names))
    elif kind == 3 and node.output:
        node.output[draw.randrange(len(node.output))] = draw.choice(names)
    elif kind == 4:
        node.op_type = draw.choice([other.op_type for other in graph.node] + [
            "Reshape", "Slice", "Concat", "Gather", "Softmax", "MatMul", "Transpose", "Expand", "Where", "Split",
            "Resize", "Pad", "Conv", "Attention", "If", "Loop", "Scan", "TopK", "Einsum", "Range", "Cast"])
    elif kind == 5 and node.attribute:
        node.attribute.pop(draw.randrange(len(node.attribute)))
    elif kind == 6:
        graph.node.add().CopyFrom(node)
    elif node.attribute:
        attribute = draw.choice(node.attribute)
        if attribute.type == onnx.AttributeProto.INT:
            attribute.i = draw.choice(EDGES)
        elif attribute.type == onnx.AttributeProto.FLOAT:
            attribute.f = draw.choice([0.0, -1.0, 1e30, -1e30, float("nan"), float("inf")])
        elif attribute.type == onnx.AttributeProto.INTS:
            spoil_list(draw, attribute.ints)
        elif attribute.type == onnx.AttributeProto.STRING:
            attribute.s = draw.choice([b"", b"\xff", b"x" * 5000, attribute.s[:-1]])
        elif attribute.type == onnx.AttributeProto.TENSOR:
            spoil_tensor(draw, attribute.t)


def spoil_list(draw, numbers):
    if numbers and draw.random() < 0.6:
        numbers[draw.randrange(len(numbers))] = draw.choice(EDGES)
    elif numbers and draw.random() < 0.5:
        numbers.pop(draw.randrange(len(numbers)))
    else:
        numbers.append(draw.choice(EDGES))


def spoil_tensor(draw, tensor):
    kind = draw.random()
    if kind < 0.25:
        spoil_list(draw, tensor.dims)
    elif kind < 0.4:
        tensor.data_type = draw.randrange(30)
    elif kind < 0.9 and tensor.data_type == T.INT64 and tensor.raw_data:
        at = 8 * draw.randrange(len(tensor.raw_data) // 8 or 1)
        tensor.raw_data = tensor.raw_data[:at] + draw.choice(EDGES).to_bytes(8, "little", signed=True) + \
            tensor.raw_data[at + 8:]
    elif tensor.raw_data:
        tensor.raw_data = tensor.raw_data[:draw.randrange(len(tensor.raw_data))]


def spoil_value(draw, info):
    kind = info.type.tensor_type
    if draw.random() < 0.3:
        kind.elem_type = draw.randrange(30)
    elif kind.shape.dim and draw.random() < 0.7:
        dim = draw.choice(kind.shape.dim)
        if draw.random() < 0.7:
            dim.dim_value = draw.choice(EDGES)
        else:
            dim.dim_param = draw.choice(["N", "batch", "", "a b", "1", "x*y", "-"])
    else:
        kind.shape.dim.add(dim_value=draw.choice(EDGES))


def spoil_fields(draw, data):
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception:
        return spoil_bytes(draw, data)
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        kind = draw.random()
        if kind < 0.55:
            spoil_node(draw, model.graph)
        elif kind < 0.75 and model.graph.initializer:
            spoil_tensor(draw, draw.choice(model.graph.initializer))
        elif kind < 0.93 and model.graph.input:
            spoil_value(draw, draw.choice(model.graph.input))
        elif model.opset_import:
            model.opset_import[0].version = draw.choice([*range(1, 29), *EDGES])
    return model.SerializeToString()


def limit_memory():
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def problem_of(ferrite, data, folder):
    path, output = folder / "model.onnx", folder / "model.so"
    path.write_bytes(data)
    for weights in (TEST / "models").glob("*.weights"):
        (folder / weights.name).symlink_to(weights)
    before = {each.name for each in folder.iterdir()}
    try:
        run = subprocess.run([ferrite, "compile", path, "-o", output, "--quiet", "--cpu=avx2"],
                             stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                             timeout=SECONDS, preexec_fn=limit_memory)
    except subprocess.TimeoutExpired:
        return f"still runs after {SECONDS} s", None
    code, lines = run.returncode, run.stderr.splitlines()
    if code not in (0, 1, 2):
        return f"exit code {code}: {run.stderr[-500:]}", code
    notes = [line for line in lines[1:] if line.startswith("ferrite: note: ")]
    if code and (len(lines) != 1 + len(notes) or not lines[0].startswith("ferrite: error: ")):
        return f"{len(lines)} lines: {run.stderr[-500:]}", code
    # What a verifier of ours says is a message to us: the importer should have known.
    if code and re.search(r"'ferrite\.\w+' op ", run.stderr):
        return f"a message of the dialect: {run.stderr[-500:]}", code
    left = {each.name for each in folder.iterdir()} - before
    if code and left:
        return f"left {sorted(left)}", code
    return None, code


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ferrite")
    parser.add_argument("--models", nargs="*", default=[])
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=pathlib.Path, help="where models that fail are left")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args()
    found, codes, failed = all_seeds(args.models), {}, 0
    with tempfile.TemporaryDirectory() as scratch:

        def check(number):
            draw = random.Random(args.seed * 1000003 + number)
            data = draw.choice(found)
            data = (spoil_bytes if draw.random() < 0.4 else spoil_fields)(draw, data)
            folder = pathlib.Path(scratch) / str(number)
            folder.mkdir()
            return number, data, *problem_of(args.ferrite, data, folder)

        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            for number, data, problem, code in pool.map(check, range(args.count)):
                codes[code] = codes.get(code, 0) + 1
                if problem:
                    failed += 1
                    print(f"FAIL mutant {number} of seed {args.seed}: {problem}")
                    if args.keep:
                        args.keep.mkdir(parents=True, exist_ok=True)
                        (args.keep / f"{args.seed}-{number}.onnx").write_bytes(data)
    print("exit codes:", ", ".join(f"{code}: {count}" for code, count in sorted(codes.items(), key=str)))
    print(f"{args.count - failed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
