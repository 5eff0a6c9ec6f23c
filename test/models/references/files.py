"""ONNX files: noise out, weights into one file that the exports of a group share."""
import onnx

SMALLEST_EXTERNAL = 1024  # bytes; smaller initializers stay in the graph


def graphs_of(graph):
    """The graph and those in attributes of its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs_of(attribute.g)


def strip(model):
    """Drops what is noise here: stack traces, doc strings, inferred shapes."""
    del model.metadata_props[:]
    for graph in [*graphs_of(model.graph), *model.functions]:
        del graph.value_info[:], graph.metadata_props[:]
        graph.doc_string = ""
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
        if not isinstance(graph, onnx.GraphProto):
            continue
        for value in [*graph.input, *graph.output, *graph.initializer]:
            value.doc_string = ""
            if hasattr(value, "metadata_props"):
                del value.metadata_props[:]


def move_out(tensor, location, offset, length):
    for field in ("raw_data", "float_data", "int32_data", "int64_data"):
        tensor.ClearField(field)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


class Weights:
    """A file of tensors, 64-byte aligned, each content once. `extend` keeps what the
    models that are there have in it."""

    def __init__(self, path, extend=False):
        self.path, self.blob, self.known = path, bytearray(), {}
        if not extend or not path.exists():
            return
        self.blob = bytearray(path.read_bytes())
        for source in path.parent.glob("*.onnx"):
            model = onnx.load(source, load_external_data=False)
            for tensor in (t for g in graphs_of(model.graph) for t in g.initializer):
                where = {entry.key: entry.value for entry in tensor.external_data}
                if where.get("location") == path.name:
                    begin = int(where["offset"])
                    data = bytes(self.blob[begin:begin + int(where["length"])])
                    self.known[data] = begin

    def take(self, model):
        """Moves the large tensors of the model here."""
        for graph in graphs_of(model.graph):
            for tensor in graph.initializer:
                data = onnx.numpy_helper.to_array(tensor).tobytes()
                if len(data) < SMALLEST_EXTERNAL:
                    continue
                if data not in self.known:
                    self.blob.extend(bytes(-len(self.blob) % 64))
                    self.known[data] = len(self.blob)
                    self.blob.extend(data)
                move_out(tensor, self.path.name, self.known[data], len(data))

    def save(self):
        if self.blob:
            self.path.write_bytes(self.blob)
