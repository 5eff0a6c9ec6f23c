"""Files that are no protobuf, or not the one they should be."""
import os

from corpus import *

CUT = r"'.*model\.onnx' (is truncated or not an ONNX model|is not a valid ONNX model): .* byte \d+"
NOT_ONNX = r"'.*model\.onnx' (is not an? |is not a valid |is truncated or not an )ONNX model"
TOO_LARGE = r"'.*model\.onnx' is too large: "


add("empty-file", 1, r"'.*model\.onnx' is empty", lambda: b"")
add("one-byte", 1, NOT_ONNX, lambda: b"\x08")
add("only-a-version", 1, "no graph", lambda: field(IR, 10))
add("zeros", 1, NOT_ONNX, lambda: bytes(4096))
add("ones", 1, NOT_ONNX, lambda: b"\xff" * 4096)
add("text", 1, NOT_ONNX, lambda: b"a page of text, and not a model.\n" * 99)
add("noise", 1, NOT_ONNX, lambda: np.random.default_rng(1).bytes(65536))
add("zip", 1, NOT_ONNX, lambda: b"PK\x03\x04\x14\x00\x00\x00\x00\x00" + bytes(200))
add("elf", 1, NOT_ONNX, lambda: b"\x7fELF\x02\x01\x01" + bytes(200))
add("gzip", 1, NOT_ONNX, lambda: b"\x1f\x8b\x08\x00\x00\x00\x00\x00" + bytes(200))
add("safetensors", 1, NOT_ONNX, lambda: b"\x40\0\0\0\0\0\0\0" + b'{"w":{"dtype":"F32"}}'.ljust(64))
add("json", 1, NOT_ONNX, lambda: b'{"ir_version": 8, "graph": {}}')
add("git-lfs-pointer", 1, NOT_ONNX, lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
add("a-tensor-not-a-model", 1, NOT_ONNX,
    lambda: tensor("w", np.ones((4, 4), np.float32)).SerializeToString())
add("a-graph-not-a-model", 1, NOT_ONNX, lambda: small().graph.SerializeToString())

for part in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 97):
    add(f"cut-at-{part}-percent", 1, CUT + "|no graph",
        lambda part=part: small().SerializeToString()[:len(small().SerializeToString()) * part // 100])
add("cut-by-a-byte", 1, CUT, lambda: small().SerializeToString()[:-1])
add("cut-inside-weights", 1, CUT, lambda: model(
    [node("MatMul", "x w", "y")], weights=[tensor("w", np.ones((4, 50000), np.float32))]
).SerializeToString()[:400000])


@case(1, "is not a regular file|not a regular file")
def a_folder(folder):
    (folder / "model.onnx").mkdir()


@case(1, "not a regular file")
def a_pipe_that_nobody_writes(folder):
    os.mkfifo(folder / "model.onnx")


@case(1, "not a regular file")
def a_device(folder):
    (folder / "model.onnx").symlink_to("/dev/zero")


@case(1, "cannot open '.*model.onnx'")
def a_link_to_itself(folder):
    (folder / "model.onnx").symlink_to("model.onnx")


@case(1, "cannot open '.*model.onnx': No such file")
def no_file(folder):
    return None


# -- Fields at their boundaries ---------------------------------------------------

def spoilt(name, message, graph_bytes, code=1):
    add(name, code, message, lambda: wire_model(graph_bytes))


spoilt("field-longer-than-message", "longer than its message|truncated", tag(NODE, 2) + varint(1000) + b"ab")
spoilt("field-length-2-to-the-63", "longer than its message|truncated", tag(NODE, 2) + varint(2**63) + b"ab")
spoilt("field-length-minus-one", "longer than its message|truncated", tag(NODE, 2) + varint(-1) + b"ab")
spoilt("field-number-zero", "a field has an invalid number", b"\x02\x00")
spoilt("field-number-too-large", "a field has an invalid number", varint(2**35) + b"\0")
spoilt("wire-type-6", "a field has an invalid wire type", b"\x0e")
spoilt("wire-type-7", "a field has an invalid wire type", b"\x0f")
spoilt("group", "a field has an invalid wire type", tag(NODE, 3) + tag(NODE, 4))
spoilt("groups-nested-deeply", "a field has an invalid wire type", tag(99, 3) * 20000)
spoilt("group-never-begun", "a field has an invalid wire type", tag(NODE, 4))
spoilt("number-of-11-bytes", "a number has more than 10 bytes", tag(3, 0) + b"\xff" * 10 + b"\x01")
spoilt("number-never-ends", "ends inside a number|more than 10", tag(3, 0) + b"\x80" * 9)
spoilt("fixed64-cut", "ends inside a number", tag(50, 1) + b"1234")
add("graph-is-a-number", 1, NOT_ONNX, lambda: field(IR, 10) + field(GRAPH, 7))
add("version-is-a-string", 1, NOT_ONNX, lambda: field(IR, b"ten") + field(GRAPH, b""))
spoilt("name-of-no-utf8", r"model\.onnx|node '", field(NODE, field(1, b"\xff\xfe") + field(
    2, b"\xc3\x28") + field(4, b"Relu")) + field(OUTPUT, field(1, b"\xc3\x28")))


def nested(depth, inner, *wrappers):
    """Messages in messages, innermost first."""
    for _ in range(depth):
        for number in wrappers:
            inner = field(number, inner)
    return inner


spoilt("graphs-nested-200-deep", "messages nest too deeply",
       nested(200, b"", 6, 5, NODE))  # graph of an attribute of a node
spoilt("graphs-nested-5000-deep", "messages nest too deeply", nested(5000, b"", 6, 5, NODE))
spoilt("types-nested-5000-deep", "messages nest too deeply",
       field(INPUT, field(1, b"x") + field(2, nested(5000, b"", 1, 4))))

# -- Bombs: few bytes that parse into many objects ------------------------------------

spoilt("bomb-of-nodes", TOO_LARGE, field(NODE, b"") * 3000000)
spoilt("bomb-of-inputs", TOO_LARGE, field(INPUT, b"") * 3000000)
spoilt("bomb-of-names", TOO_LARGE, field(NODE, field(1, b"") * 6000000))
spoilt("bomb-of-attributes", TOO_LARGE, field(NODE, field(5, b"") * 3000000))
spoilt("bomb-of-dims", TOO_LARGE, field(WEIGHT, field(1, b"\1" * 40000000) + field(2, 1)))
spoilt("bomb-of-elements", TOO_LARGE, field(WEIGHT, field(7, bytes(40000000)) + field(2, 7)))
add("bomb-of-opsets", 1, TOO_LARGE, lambda: field(IR, 10) + field(OPSET, b"") * 3000000)
add("bomb-of-functions", 1, TOO_LARGE,
    lambda: field(IR, 10) + field(GRAPH, b"") + field(FUNCTION, b"") * 3000000)
