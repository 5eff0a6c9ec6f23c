"""Cases of the quantized ops of com.microsoft; see contrib.py.

Where the result is of integers and ONNX Runtime folds the scales in another order than
the op's documentation has them, NumPy computes that: a value on the border between two
steps would go to either.
"""
import numpy as np

from .contrib import Case, Draw, generator


def integers(name, *shape, low=0, high=256, dtype=np.uint8):
    return generator(name).integers(low, high, shape).astype(dtype)


def number(bits, scale, zero):
    return (bits.astype(np.float32) - np.float32(zero)) * scale


def steps(x, scale, zero):
    ends = np.iinfo(zero.dtype)
    return np.clip(np.rint(x / scale) + zero, ends.min, ends.max).astype(zero.dtype)


def f32(value):
    return np.float32(value)


def matmul_nbits():
    def case(name, depth, columns, bits, block, zero=None, bias=False, flat=False,
             dtype=np.float32, level=0, rows=(2, 3), order=False, dims=None):
        draw, blocks = Draw("nbits " + name), -(-depth // block)
        shape = (columns, blocks, block * bits // 8)
        width = -(-blocks * bits // 8)
        inputs = dict(
            A=draw(*rows, depth, dtype=dtype), B=integers(name, *shape),
            scales=(np.abs(draw(columns, blocks)) * 0.1 + 0.01).astype(dtype),
            zero_points=None, g_idx=None, bias=None)
        if zero == "packed":
            inputs["zero_points"] = integers(name + " zero", columns, width)
        if zero == "float":
            inputs["zero_points"] = (draw(columns, blocks) + 2 ** (bits - 1)).astype(dtype)
        if order:
            inputs["g_idx"] = (np.arange(depth) // block).astype(np.int32)
        if bias:
            inputs["bias"] = draw(columns, dtype=dtype)
        if flat:
            inputs["scales"] = inputs["scales"].reshape(-1)

        def numpy(A, B, scales, zero_points, g_idx, bias):
            def unpack(packed, count):
                shifts = np.arange(0, 8, bits)
                parts = (packed[..., None] >> shifts) & (2 ** bits - 1)
                return parts.reshape(columns, -1)[:, :count].astype(np.float64)
            w = unpack(B.reshape(columns, -1), blocks * block).reshape(columns, blocks, block)
            z = np.full((columns, blocks), 2.0 ** (bits - 1))
            if zero == "packed":
                z = unpack(zero_points, blocks)
            elif zero == "float":
                z = zero_points.astype(np.float64)
            s = scales.astype(np.float64).reshape(columns, blocks)
            w = ((w - z[..., None]) * s[..., None]).reshape(columns, -1)[:, :depth]
            y = A.astype(np.float64) @ w.T + (0 if bias is None else bias.astype(np.float64))
            return y.astype(A.dtype)
        return Case("MatMulNBits", name, inputs, ("Y",),
                    dict(K=depth, N=columns, bits=bits, block_size=block, accuracy_level=level),
                    dims or {"A": ["batch", "rows", depth]},
                    ("B", "scales", "zero_points", "g_idx", "bias"), numpy)
    yield case("symmetric", 64, 48, 4, 32)
    yield case("packed_zero", 64, 48, 4, 32, "packed", level=4)
    yield case("odd_blocks", 96, 40, 4, 32, "packed", bias=True)
    yield case("cut_block", 80, 33, 4, 32, "packed")
    yield case("float_zero", 64, 16, 4, 16, "float", flat=True)
    yield case("two_bits", 128, 24, 2, 64, "packed")
    yield case("eight_bits", 64, 24, 8, 16, "packed", bias=True)
    yield case("half", 64, 48, 4, 32, "packed", bias=True, dtype=np.float16)
    yield case("ordered", 64, 24, 4, 32, order=True)
    # Above 64 KiB: the bits stay in the file.
    yield case("large", 512, 640, 4, 128, "packed")
    yield case("large_two_bits", 1024, 640, 2, 16)


def gather_blocks():
    def case(name, shape, bits, block, zero=False, **attributes):
        draw = Draw("gather " + name)
        blocks = -(-shape[-1] // block)
        inputs = dict(data=integers(name, *shape[:-1], shape[-1] * bits // 8),
                      indices=np.array([[3, 0], [-1, 2]], np.int64),
                      scales=np.abs(draw(*shape[:-1], blocks, scale=0.1)) + f32(0.01),
                      zero_points=None)
        if zero:
            inputs["zero_points"] = integers(name + " zero", *shape[:-1], -(-blocks * bits // 8))

        def numpy(data, indices, scales, zero_points):
            def unpack(packed, count):
                parts = (packed[..., None] >> np.arange(0, 8, bits)) & (2 ** bits - 1)
                return parts.reshape(*packed.shape[:-1], -1)[..., :count].astype(np.float32)
            z = unpack(zero_points, blocks) if zero else np.full(scales.shape, 2 ** (bits - 1))
            def each(a):
                return np.repeat(a, block, -1)[..., :shape[-1]]
            table = (unpack(data, shape[-1]) - each(z).astype(np.float32)) * each(scales)
            return table[indices]
        return Case("GatherBlockQuantized", name, inputs, ("output",),
                    dict(gather_axis=0, quantize_axis=len(shape) - 1, block_size=block,
                         bits=bits, **attributes),
                    {"indices": ["batch", "sequence"]}, ("data", "scales", "zero_points"), numpy)
    yield case("symmetric", (8, 64), 4, 16)
    yield case("zero", (8, 96), 4, 32, True)
    yield case("eight_bits", (8, 64), 8, 32, True)
    yield case("three_dims", (6, 2, 32), 4, 16, True)
    yield case("large", (1024, 160), 4, 32, True)


A, B, Y = f32(0.02), f32(0.03), f32(0.037)


def elementwise():
    dims = {"A": ["batch", 5], "X": ["batch", 5]}

    def binary(op, name, formula, dtype=np.uint8, shape=(3, 5)):
        low, high = (0, 256) if dtype == np.uint8 else (-128, 128)
        za, zb, zc = (np.dtype(dtype).type(v) for v in (7, 3, 11))
        inputs = dict(A=integers(name, 3, 5, low=low, high=high, dtype=dtype), A_scale=A,
                      A_zero_point=za,
                      B=integers(name + " b", *shape, low=low, high=high, dtype=dtype), B_scale=B,
                      B_zero_point=zb, C_scale=Y, C_zero_point=zc)
        return Case(op, name, inputs, ("C",), dims={"A": ["batch", 5]} if len(shape) < 2 else {},
                    declared={"C": (dtype, None)}, opset=17,
                    numpy=lambda **i: steps(formula(
                        number(i["A"], A, za), number(i["B"], B, zb)), Y, zc))
    for dtype in (np.uint8, np.int8):
        for op, formula in (("QLinearAdd", np.add), ("QLinearMul", np.multiply)):
            yield binary(op, np.dtype(dtype).name, formula, dtype)
            yield binary(op, np.dtype(dtype).name + "_row", formula, dtype, (5,))

    def unary(op, name, formula, scale, attributes=None, numpy=True, shape=(3, 5)):
        zx, zy = np.uint8(120), np.uint8(9)
        inputs = dict(X=integers(op + name, *shape), X_scale=A, X_zero_point=zx,
                      Y_scale=scale, Y_zero_point=zy)
        answer = lambda **i: steps(formula(number(i["X"], A, zx)), scale, zy)
        return Case(op, name, inputs, ("Y",), attributes, dims if len(shape) == 2 else {},
                    declared={"Y": (np.uint8, None)}, numpy=answer, opset=17)
    yield unary("QLinearSigmoid", "uint8", lambda x: 1 / (1 + np.exp(-x)), f32(1 / 231))
    yield unary("QLinearLeakyRelu", "uint8", lambda x: np.where(x < 0, x * f32(0.1), x),
                f32(0.021), {"alpha": 0.1})

    def softmax(x):
        e = np.exp(x - x.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)
    yield unary("QLinearSoftmax", "last", softmax, f32(1 / 240),
                {"axis": -1, "opset": 13}, shape=(2, 3, 5))

    parts = {f"part{i}": integers(f"concat {i}", 2, 2 + i) for i in range(2)}
    inputs = dict(Y_scale=Y, Y_zero_point=np.uint8(11))
    for i, (key, value) in enumerate(parts.items()):
        inputs |= {key: value, f"{key}_scale": f32(0.02 + 0.011 * i),
                   f"{key}_zero_point": np.uint8(5 * i)}
    yield Case("QLinearConcat", "uint8", inputs, ("Y",), {"axis": 1},
               declared={"Y": (np.uint8, None)}, opset=17,
               numpy=lambda **i: steps(np.concatenate(
                   [number(i[k], i[f"{k}_scale"], i[f"{k}_zero_point"]) for k in parts], 1),
                   Y, np.uint8(11)))
    keep = generator("where").integers(0, 2, (3, 5)).astype(bool)
    yield Case("QLinearWhere", "uint8", dict(
        condition=keep, X=integers("where x", 3, 5), X_scale=A, X_zero_point=np.uint8(7),
        Y=integers("where y", 5), Y_scale=B, Y_zero_point=np.uint8(3), Z_scale=Y,
        Z_zero_point=np.uint8(11)), ("Z",), declared={"Z": (np.uint8, None)}, opset=17,
        numpy=lambda **i: steps(np.where(
            i["condition"], number(i["X"], A, 7), number(i["Y"], B, 3)), Y, np.uint8(11)))


def products():
    def weights(name, dtype, *shape):
        low, high = (0, 256) if dtype == np.uint8 else (-128, 128)
        return integers(name, *shape, low=low, high=high, dtype=dtype)

    def scales(name, *shape):
        return np.abs(Draw(name)(*shape, scale=0.05)).astype(np.float32) + f32(0.01)
    for dtype in (np.int8, np.uint8):
        name = np.dtype(dtype).name
        # Zero points: one, or one for each column.
        yield Case("DynamicQuantizeMatMul", name, dict(
            A=Draw("dynamic" + name)(2, 3, 24), B=weights("dynamic b" + name, dtype, 24, 20),
            b_scale=scales("dynamic s", 20), b_zero_point=weights("dynamic z", dtype, 20),
            bias=Draw("dynamic bias")(20)), ("Y",), dims={"A": ["batch", "rows", 24]},
            constants=("B", "b_scale", "b_zero_point", "bias"), opset=17)
        yield Case("DynamicQuantizeMatMul", name + "_one", dict(
            A=Draw("dynamic one" + name)(3, 24), B=weights("dynamic b" + name, dtype, 24, 20),
            b_scale=f32(0.02)), ("Y",), dims={"A": ["rows", 24]},
            constants=("B", "b_scale"), opset=17)
        yield Case("MatMulIntegerToFloat", name, dict(
            A=weights("to float a", np.uint8, 2, 3, 24), B=weights("to float b", dtype, 24, 20),
            a_scale=f32(0.013), b_scale=scales("to float s", 20),
            a_zero_point=np.uint8(130), b_zero_point=weights("to float z", dtype, 20),
            bias=Draw("to float bias")(20)), ("Y",), dims={"A": ["batch", "rows", 24]},
            opset=17)

    def gemm(name, trans_a, trans_b, alpha, quantized, bias=True):
        a = weights(name, np.uint8, *((24, 6) if trans_a else (6, 24)))
        b = weights(name + " b", np.int8, *((20, 24) if trans_b else (24, 20)))
        inputs = dict(A=a, a_scale=f32(0.01), a_zero_point=np.uint8(113), B=b,
                      b_scale=scales(name, 20), b_zero_point=np.zeros(20, np.int8),
                      C=integers(name + " c", 20, low=-2000, high=2000, dtype=np.int32)
                      if bias else None, y_scale=None, y_zero_point=None)
        if quantized:
            inputs |= dict(y_scale=f32(0.93), y_zero_point=np.uint8(100))

        def numpy(A, a_scale, a_zero_point, B, b_scale, b_zero_point, C, y_scale, y_zero_point):
            x = A.astype(np.int32) - np.int32(a_zero_point)
            w = (B.T if trans_b else B).astype(np.int32) - b_zero_point.astype(np.int32)
            sums = (x.T if trans_a else x) @ w
            sums = sums + (0 if C is None else C)
            factor = a_scale * b_scale * f32(alpha)
            if y_scale is None:
                return sums.astype(np.float32) * factor
            return steps(sums.astype(np.float32) * (factor / y_scale), f32(1), y_zero_point)
        return Case("QGemm", name, inputs, ("Y",),
                    dict(transA=trans_a, transB=trans_b, alpha=alpha), numpy=numpy,
                    declared={"Y": (np.uint8, None)} if quantized else None, opset=17)
    yield gemm("plain", 0, 0, 1.0, False)
    yield gemm("transposed", 1, 1, 0.5, False)
    yield gemm("quantized", 0, 1, 1.0, True)
    yield gemm("no_bias", 0, 0, 2.0, True, bias=False)


def cases():
    yield from matmul_nbits()
    yield from gather_blocks()
    yield from elementwise()
    yield from products()
