"""Weights that are not what they say: sizes, types, files."""
import os

from corpus import *

M = r"'.*model\.onnx': "


def weight(w, inputs=(X,), nodes=None):
    return model(nodes or [node("MatMul", "x w", "y")], inputs=inputs, weights=[w])


def spoilt(name, message, make, code=1, **options):
    add(name, code, message, lambda: weight(make(), **options))


# -- Dims ---------------------------------------------------------------------------

TOO_MANY = "tensor 'w' of shape .* has more elements than any file can hold"
spoilt("dim-negative", "tensor 'w' of shape .* negative dimension", lambda: raw("w", [-4, 4]))
spoilt("dim-int64-min", "tensor 'w' of shape .* negative dimension", lambda: raw("w", [-2**63, 4]))
spoilt("dims-whose-product-wraps-to-0", TOO_MANY, lambda: raw("w", [2**32, 2**32]))
spoilt("dims-whose-product-wraps-to-16", TOO_MANY, lambda: raw("w", [2**62 + 4, 4], data=bytes(64)))
spoilt("dims-whose-bytes-wrap", "tensor 'w' ", lambda: raw("w", [2**30, 2**32]))
spoilt("dims-of-a-terabyte", "tensor 'w' of type float32 has 4 bytes of data, but its shape needs 4398046511104",
       lambda: raw("w", [2**20, 2**20], data=b"1234"))
spoilt("dims-huge-beside-a-zero", "tensor 'w' ", lambda: raw("w", [0, 2**62, 2**62]))
spoilt("rank-33", "tensor 'w' of shape .* more than 32 dimensions", lambda: raw("w", [1] * 33, data=bytes(4)))
spoilt("rank-100000", "tensor 'w' of shape .* more than 32 dimensions", lambda: raw("w", [1] * 100000, data=bytes(4)))
spoilt("shape-of-a-weight-is-nan", r"node 'n' \(Reshape\): ", lambda: tensor("w", np.array([np.nan, 2], np.float32)),
       nodes=[node("Reshape", "x w", "y")])

# -- Data -----------------------------------------------------------------------------

DEQUANTIZE = [node("Constant", "", "s", "c", value_float=1.0), node("DequantizeLinear", "w s", "d"),
              node("Add", "x d", "y", "add")]
BYTES = r"tensor 'w' of type \w+ has \d+ bytes of data, but its shape needs \d+"
spoilt("raw-data-too-short", BYTES, lambda: raw("w", [4, 4], data=bytes(63)))
spoilt("raw-data-too-long", BYTES, lambda: raw("w", [4, 4], data=bytes(65)))
spoilt("raw-data-missing", BYTES, lambda: T(name="w", dims=[4, 4], data_type=T.FLOAT))
spoilt("large-data-too-short", "tensor 'w' has 300000 bytes of data, but its shape and type need 320000",
       lambda: raw("w", [4, 20000], data=bytes(300000)))
spoilt("float-data-too-short", BYTES, lambda: T(name="w", dims=[4, 4], data_type=T.FLOAT, float_data=[1] * 15))
spoilt("float-data-for-float16", BYTES, lambda: T(name="w", dims=[4, 4], data_type=T.FLOAT16, float_data=[1] * 16))
spoilt("data-in-two-places", "tensor 'w' |'w'", lambda: T(
    name="w", dims=[4, 4], data_type=T.FLOAT, float_data=[1] * 16, raw_data=bytes(64)))
spoilt("int4-data-too-short", BYTES, lambda: raw("w", [4, 4], T.INT4, bytes(7)),
       nodes=DEQUANTIZE)
spoilt("uint4-data-unpacked", BYTES, lambda: raw("w", [4, 4], T.UINT4, bytes(16)),
       nodes=DEQUANTIZE)
spoilt("uint4-of-odd-count-too-long", BYTES, lambda: raw("w", [3], T.UINT4, bytes(3)),
       nodes=DEQUANTIZE)
spoilt("int2-data-too-short", BYTES, lambda: raw("w", [4, 4], 26, bytes(3)),
       nodes=DEQUANTIZE)
spoilt("float4-data-too-long", BYTES, lambda: raw("w", [4, 4], T.FLOAT4E2M1, bytes(9)),
       nodes=[node("Cast", "w", "d", to=T.FLOAT), node("Add", "x d", "y", "add")])
spoilt("large-int4-too-short", "tensor 'w' has 70000 bytes of data, but its shape and type need 80000",
       lambda: raw("w", [4, 40000], T.INT4, bytes(70000)))

# -- Types ------------------------------------------------------------------------------

spoilt("type-undefined", "tensor 'w'|'w'", lambda: raw("w", [4, 4], 0, bytes(64)))
spoilt("type-999", "tensor 'w'|'w'", lambda: raw("w", [4, 4], 999, bytes(64)))
spoilt("type-negative", "tensor 'w'|'w'", lambda: raw("w", [4, 4], -1, bytes(64)))
spoilt("type-string", "tensor 'w'|'w'|string", lambda: T(
    name="w", dims=[2], data_type=T.STRING, string_data=[b"a", b"b"]), code=2)
spoilt("type-string-in-raw-data", "tensor 'w'|'w'|string", lambda: raw("w", [4, 4], T.STRING, bytes(64)), code=2)
spoilt("type-complex", "complex", lambda: raw("w", [4, 4], T.COMPLEX64, bytes(128)), code=2)
spoilt("types-that-do-not-match", r"node 'n' \(MatMul\): .*f32 and f64",
       lambda: tensor("w", np.ones((4, 4), np.float64)))
spoilt("integers-where-floats-are-due", r"node 'n' \(MatMul\): .*(f32|i64)", lambda: ints("w", 1, 2, 3, 4))


@case(1, "input 'x'.*(type 999|elem)")
def input_of_type_999():
    return model([node("Relu", "x", "y")], inputs=[value("x", [4], 999)])


@case(2, "input 'x' has elements of string")
def input_of_strings():
    return model([node("Identity", "x", "y")], inputs=[value("x", [4], T.STRING)])


@case(1, "input 'x' has no type")
def input_without_a_type():
    return model([node("Relu", "x", "y")], inputs=[onnx.ValueInfoProto(name="x")])


@case(1, "input 'x' has no shape")
def input_without_a_shape():
    return model([node("Relu", "x", "y")], inputs=[value("x", None)])


@case(2, "input 'x' is not a tensor")
def input_of_sequences():
    return model([node("Identity", "x", "y")], inputs=[helper.make_tensor_sequence_value_info("x", T.FLOAT, [4])])


@case(1, "input 'x' has a dimension of size -5")
def input_with_a_negative_dim():
    return model([node("Relu", "x", "y")], inputs=[value("x", [-5, 4])])


@case(1, "input 'x' has more elements than any memory can hold")
def input_of_2_to_the_80_elements():
    return model([node("Relu", "x", "y")], inputs=[value("x", [2**40, 2**40])])


@case(1, "input 'x' .*(dimensions|rank)")
def input_of_rank_100000():
    return model([node("Relu", "x", "y")], inputs=[value("x", [1] * 100000)])


@case(1, "input 'x' .*(dimensions|rank)")
def input_of_100000_symbols():
    return model([node("Relu", "x", "y")], inputs=[value("x", [f"d{i}" for i in range(100000)])])


@case(1, "output 'y' is declared with")
def output_declared_with_another_shape():
    return model([node("Relu", "x", "y")], outputs=[value("y", ["N", 5])])


@case(1, "output 'y' is declared")
def output_declared_with_another_type():
    return model([node("Relu", "x", "y")], outputs=[value("y", ["N", 4], T.INT64)])


@case(1, "output 'y' is declared")
def output_declared_with_another_rank():
    return model([node("Relu", "x", "y")], outputs=[value("y", [1] * 9)])


# -- Sparse tensors: refused by name, whatever they hold -------------------------------------

def sparse(name, dims, values, indices):
    made = onnx.SparseTensorProto(values=values, indices=indices, dims=dims)
    made.values.name = name
    return made


def with_sparse(weight):
    made = model([node("MatMul", "x w", "y")])
    made.graph.sparse_initializer.append(weight)
    return made


ONES = lambda count: tensor("w", np.ones(count, np.float32))
for label, weight_of in {
    "sparse-weight": lambda: sparse("w", [4, 4], ONES(2), ints("i", 0, 5)),
    "sparse-index-outside": lambda: sparse("w", [4, 4], ONES(2), ints("i", 0, 10**12)),
    "sparse-dims-negative": lambda: sparse("w", [-4, 4], ONES(2), ints("i", 0, 5)),
    "sparse-dims-of-a-bomb": lambda: sparse("w", [2**40, 2**40], ONES(1), ints("i", 0)),
    "sparse-counts-that-differ": lambda: sparse("w", [4, 4], ONES(3), ints("i", 0)),
}.items():
    add(label, 2, "(tensor|initializer) 'w'.*sparse|sparse.*'w'|reads 'w'", lambda weight_of=weight_of: with_sparse(weight_of()))


@case(2, r"node 'n' \(Constant\): attribute 'sparse_value' is not supported")
def sparse_constant():
    return model([node("Constant", "", "w", sparse_value=sparse("", [4, 4], ONES(1), ints("i", 0))),
                  node("MatMul", "x w", "y", "mm")])


# -- External data ---------------------------------------------------------------------------

def external(name, message, dims=(4, 4), dtype=T.FLOAT, **entries):
    """A weight in a file; `data.bin` beside the model has 64 bytes."""

    def make(folder):
        (folder / "data.bin").write_bytes(bytes(64))
        (folder.parent / "outside.bin").write_bytes(bytes(64))
        w = T(name="w", dims=dims, data_type=dtype, data_location=T.EXTERNAL)
        for key, text in entries.items():
            w.external_data.add(key=key, value=str(text))
        return weight(w)

    add(name, 1, M + message, make)


OUTSIDE = "tensor 'w' has external data at .*(outside the model's folder|is not a relative path)"
external("external-without-entries", "tensor 'w' has external data without a location")
external("external-location-empty", "tensor 'w' has external data without a location", location="")
external("external-file-missing", "tensor 'w' has its data in 'no.bin', but: cannot open", location="no.bin")
external("external-is-a-folder", "tensor 'w' has its data in '.', but: .* not a regular file", location=".")
external("external-absolute", OUTSIDE, location="/etc/passwd")
external("external-device", OUTSIDE, location="/dev/zero")
external("external-parent", OUTSIDE, location="../outside.bin")
external("external-parent-behind-a-folder", OUTSIDE, location="a/../../outside.bin")
external("external-parent-behind-the-folder", OUTSIDE, location="./../outside.bin")
external("external-with-a-nul", "tensor 'w' has external data at ", location="data.bin\0.png")
external("external-name-of-a-megabyte", "tensor 'w' has its data in ", location="a" * 1000000)
external("external-url", "tensor 'w' has its data in ", location="http://127.0.0.1/data.bin")
external("external-offset-negative", "tensor 'w' has external data at offset '-4', which is no number",
         location="data.bin", offset=-4)
external("external-offset-of-letters", "tensor 'w' has external data at offset 'four', which is no number",
         location="data.bin", offset="four")
external("external-offset-hexadecimal", "tensor 'w' has external data at offset '0x10', which is no number",
         location="data.bin", offset="0x10")
external("external-offset-that-wraps", r"tensor 'w' needs bytes \d+ to \d+ of 'data.bin', which has only 64",
         location="data.bin", offset=2**64 - 32, length=64)
external("external-offset-of-65-bits", "tensor 'w' has external data at offset '.*', which is no number",
         location="data.bin", offset=2**64 + 1)
external("external-too-short", "tensor 'w' needs bytes 32 to 96 of 'data.bin', which has only 64",
         location="data.bin", offset=32)
external("external-length-too-short", "tensor 'w' has external data of 60 bytes, but its shape and type need 64",
         location="data.bin", length=60)
external("external-length-negative", "tensor 'w' has external data of length '-64', which is no number",
         location="data.bin", length=-64)
external("external-dims-of-a-bomb", TOO_MANY, dims=[2**40, 2**40], location="data.bin")
external("external-strings", "tensor 'w' has large or external data of string", dtype=T.STRING, location="data.bin")
external("external-type-999", "tensor 'w' has large or external data of type 999", dtype=999, location="data.bin")
external("external-forged-source", "tensor 'w' has (malformed|external)", **{"ferrite.source": 0})


def linked(name, target, message):
    """A link is its maker's word, and may lead out of the folder; what it leads to is checked."""

    def make(folder):
        (folder / "data.bin").symlink_to(target)
        w = T(name="w", dims=[4, 4], data_type=T.FLOAT, data_location=T.EXTERNAL)
        w.external_data.add(key="location", value="data.bin")
        return weight(w)

    add(name, 1, M + "tensor 'w' has its data in 'data.bin', but: " + message, make)


linked("external-link-to-a-device", "/dev/zero", ".*not a regular file")
linked("external-link-to-nothing", "no.bin", "cannot open")
linked("external-link-to-itself", "data.bin", "cannot open")
linked("external-link-to-a-folder", "..", ".*not a regular file")


@case(1, M + "tensor 'w' has its data in 'data.bin', but: .*not a regular file")
def external_pipe(folder):
    os.mkfifo(folder / "data.bin")
    w = T(name="w", dims=[4, 4], data_type=T.FLOAT, data_location=T.EXTERNAL)
    w.external_data.add(key="location", value="data.bin")
    return weight(w)


@case(1, "tensor '.*' has its data in 'data.bin'|tensor 'w'")
def external_in_an_attribute(folder):
    w = T(name="w", dims=[4, 4], data_type=T.FLOAT, data_location=T.EXTERNAL)
    w.external_data.add(key="location", value="data.bin")
    return model([node("Constant", "", "w", value=w), node("MatMul", "x w", "y", "mm")])
