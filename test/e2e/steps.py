"""A step entry through the C API: what run_steps.py calls.

A `Step` holds a model, a session of its entry "step" and the pages of its states. A
`Sequence` has pages and a length; `Step.run` takes new tokens of several of them. One
that reads an encoder's tokens has a `source`, a sequence of the states of group 1, which
`Step.encode` makes.
"""
import ctypes
from ctypes import c_char, c_char_p, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p

import numpy as np

PAGE = 64
F32, BF16, I32, I64, BOOL = 0, 2, 6, 7, 12  # of bfloat16 the bits, which are what references hold
DTYPES = {F32: np.dtype("f4"), 1: np.dtype("f2"), BF16: np.dtype("u2"), I32: np.dtype("i4"),
          I64: np.dtype("i8"), BOOL: np.dtype("?")}


class Error(ctypes.Structure):
    _fields_ = [("status", c_int32), ("message", c_char * 512)]


class Tensor(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("bytes", c_uint64), ("name", c_char_p), ("dtype", c_int32),
                ("rank", c_int32), ("shape", c_int64 * 8), ("location", c_int32), ("reserved", c_int32)]


class EntryInfo(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("symbols", c_uint32), ("inputs", c_uint32),
                ("outputs", c_uint32), ("launches", c_uint32), ("states", c_uint32),
                ("role", c_uint32)]


class DimInfo(ctypes.Structure):
    _fields_ = [("symbol", c_char_p), ("size", c_int64)]


class TensorInfo(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("dtype", c_int32), ("rank", c_int32),
                ("dims", DimInfo * 8), ("id_limit", c_int64)]


class StateInfo(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("dtype", c_int32), ("kind", c_int32), ("layer", c_int32),
                ("group", c_int32), ("heads", c_int64), ("width", c_int64),
                ("page_tokens", c_int64), ("page_bytes", c_int64), ("window", c_int64),
                ("sinks", c_int64)]


class SessionOptions(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("threads", c_int32), ("profile", c_int32)] + [
        (name, c_void_p) for name in ("parallel_for", "parallel_for_data", "allocate", "deallocate",
                                      "allocator_data", "log", "log_data")] + [
        ("device", c_char_p), ("stream", c_void_p), ("device_allocate", c_void_p),
        ("device_deallocate", c_void_p), ("device_allocator_data", c_void_p)]


class Sequence:
    def __init__(self, source=None):
        self.pages, self.length, self.source = [], 0, source

    def slots(self, begin, count):
        return [self.pages[i // PAGE] * PAGE + i % PAGE for i in range(begin, begin + count)]


def aligned(size):
    """Zeros at a multiple of 64 bytes."""
    raw = np.zeros(size + 64, np.uint8)
    return raw[-raw.ctypes.data % 64:][:size]


def widened(bits):
    """The numbers of bfloat16."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


class Step:
    def __init__(self, library, path, pages, threads=1, fill=None, entry="step"):
        self.api = ctypes.CDLL(library)
        self.error = Error()
        self.model, self.session = c_void_p(), c_void_p()
        self.call("ferriteModelLoadFile", str(path).encode(), None, ctypes.byref(self.model))
        self.api.ferriteModelEntryCount.restype = c_size_t
        self.api.ferriteModelEntryCount.argtypes = [c_void_p]
        self.entry = self.find(entry)
        options = SessionOptions(size=ctypes.sizeof(SessionOptions), threads=threads)
        self.call("ferriteSessionCreate", self.model, entry.encode(), ctypes.byref(options),
                  ctypes.byref(self.session))
        self.states, self.memory = [], []
        for i in range(self.info.states):
            state = StateInfo()
            self.call("ferriteModelState", self.model, c_size_t(self.entry), c_size_t(i),
                      ctypes.byref(state))
            self.states.append(state)
            memory = aligned(pages * state.page_bytes)
            if fill is not None:  # what was never written must not matter
                memory[:] = fill
            self.memory.append(memory)
        bases = (c_void_p * len(self.memory))(*[m.ctypes.data for m in self.memory])
        self.call("ferriteSessionBindStates", self.session, bases, c_size_t(len(self.memory)),
                  c_int64(pages))
        self.free = list(range(pages))
        self.free_source = list(range(pages))
        self.has_source = any(state.group == 1 for state in self.states)
        self.encoder = None

    def call(self, name, *arguments):
        self.error.message = b""
        if getattr(self.api, name)(*arguments, ctypes.byref(self.error)) != 0:
            raise RuntimeError(f"{name}: {self.error.message.decode()}")

    def find(self, name):
        for i in range(self.api.ferriteModelEntryCount(self.model)):
            self.info = EntryInfo()
            self.call("ferriteModelEntry", self.model, c_size_t(i), ctypes.byref(self.info))
            if self.info.name.decode() == name:
                return i
        raise KeyError(f"no entry '{name}'")

    def inputs(self, entry):
        """The names of an entry's inputs."""
        index, names = self.find(entry), []
        for i in range(self.info.inputs):
            info = TensorInfo()
            self.call("ferriteModelInput", self.model, c_size_t(index), c_size_t(i),
                      ctypes.byref(info))
            names.append(info.name.decode())
        return names

    def close(self):
        self.api.ferriteSessionDestroy.argtypes = [c_void_p]
        self.api.ferriteModelRelease.argtypes = [c_void_p]
        self.api.ferriteSessionDestroy(self.session)
        if self.encoder:
            self.api.ferriteSessionDestroy(self.encoder)
        self.api.ferriteModelRelease(self.model)

    def pool(self, index):
        """[pages, heads, width, 64] of keys, [pages, heads, 64, width] of values."""
        state = self.states[index]
        inner = (state.width, PAGE) if state.kind == 0 else (PAGE, state.width)
        return self.memory[index].view(DTYPES[state.dtype]).reshape(-1, state.heads, *inner)

    def grow(self, sequence, tokens, group=0):
        free = self.free_source if group else self.free
        while len(sequence.pages) * PAGE < tokens:
            sequence.pages.append(free.pop(0))

    def encode(self, inputs):
        """A source: what the entry "encode" makes of these arrays, of one sequence."""
        if not self.encoder:
            self.encoder = c_void_p()
            options = SessionOptions(size=ctypes.sizeof(SessionOptions), threads=1)
            self.call("ferriteSessionCreate", self.model, b"encode", ctypes.byref(options),
                      ctypes.byref(self.encoder))
        states = [i for i, state in enumerate(self.states) if state.group == 1]
        results = self.execute(self.encoder, inputs, len(states))
        source = Sequence()
        for i, rows in zip(states, results):
            self.write(source, i, rows[0].transpose(1, 0, 2))
        source.length = results[0].shape[2]
        return source

    def execute(self, session, arrays, count, names=()):
        """The outputs of these names, or the first `count`."""
        kinds = {dtype: number for number, dtype in DTYPES.items()}
        given = (Tensor * len(arrays))()
        for tensor, (name, array) in zip(given, arrays.items()):
            tensor.data, tensor.bytes, tensor.name = array.ctypes.data, array.nbytes, name.encode()
            tensor.dtype, tensor.rank = kinds[array.dtype], array.ndim
            tensor.shape[:array.ndim] = array.shape
        out = (Tensor * count)()
        for tensor, name in zip(out, names):
            tensor.name = name.encode()
        self.call("ferriteSessionRun", session, given, c_size_t(len(given)), out, c_size_t(count))
        results = []
        for tensor in out:
            shape, dtype = tuple(tensor.shape[:tensor.rank]), DTYPES[tensor.dtype]
            size = int(np.prod(shape)) * dtype.itemsize
            data = ctypes.string_at(tensor.data, size) if size else b""
            array = np.frombuffer(data, dtype).reshape(shape).copy()
            results.append(widened(array) if tensor.dtype == BF16 else array)
        return results

    def write(self, sequence, index, rows):
        """Rows [tokens, heads, width] of a state, from the sequence's first token on."""
        self.grow(sequence, len(rows), self.states[index].group == 1)
        pool, is_keys = self.pool(index), self.states[index].kind == 0
        for i, row in enumerate(rows):
            page, place = sequence.pages[i // PAGE], i % PAGE
            if is_keys:
                pool[page, :, :, place] = row
            else:
                pool[page, :, place, :] = row

    def read(self, sequence, index, begin, count):
        pool, is_keys = self.pool(index), self.states[index].kind == 0
        rows = []
        for i in range(begin, begin + count):
            page, place = sequence.pages[i // PAGE], i % PAGE
            rows.append(pool[page, :, :, place] if is_keys else pool[page, :, place, :])
        rows = np.stack(rows)
        return widened(rows) if self.states[index].dtype == BF16 else rows

    def chosen(self, begins, leave):
        """Inputs of blocks of layers that runs may leave out; `leave`: of each block, by its
        first layer, the runs that do."""
        inputs = {}
        for layer, leaving in leave.items():
            runs = [r for r in range(len(begins) - 1) if r not in leaving]
            rows = [list(range(begins[r], begins[r + 1])) for r in runs]
            inputs[f"layer_runs_{layer}"] = runs, I64
            inputs[f"layer_rows_{layer}"] = sum(rows, []), I64
            inputs[f"layer_begins_{layer}"] = np.cumsum([0] + [len(r) for r in rows]), I32
        return inputs

    def run(self, runs, rows=None, embeddings=None, outputs=None, leave=None, changed=None):
        """`runs`: (sequence, token ids, positions[, visible]) of each. Logits of `rows`, or of
        all tokens. Sequences grow. `embeddings`: a row and a bool for each token; `outputs`:
        names of what is wanted instead of logits; `leave`: see chosen(); `changed`: inputs in
        place of the right ones."""
        ids, positions, slots, visible, begins, contexts = [], [], [], [], [0], []
        for sequence, tokens, at, *bits in runs:
            self.grow(sequence, sequence.length + len(tokens))
            ids += list(tokens)
            positions += list(at)
            slots += sequence.slots(sequence.length, len(tokens))
            visible += list(bits[0]) if bits else [0] * len(tokens)
            begins.append(len(ids))
            contexts.append(sequence.length)
            sequence.length += len(tokens)
        width = max(len(sequence.pages) for sequence, *_ in runs)
        tables = [sequence.pages + [-1] * (width - len(sequence.pages)) for sequence, *_ in runs]
        rows = list(range(len(ids))) if rows is None else rows
        inputs = {"token_ids": (ids, I64), "positions": (positions, I64), "slots": (slots, I64),
                  "run_begins": (begins, I32), "contexts": (contexts, I32),
                  "visible": (visible, I64), "page_tables": (tables, I32),
                  "logit_rows": (rows, I64)}
        if self.has_source:
            sources = [sequence.source for sequence, *_ in runs]
            width = max(len(source.pages) for source in sources)
            inputs["source_lengths"] = [source.length for source in sources], I32
            inputs["source_tables"] = [s.pages + [-1] * (width - len(s.pages))
                                       for s in sources], I32
        for group in {state.group for state in self.states}:
            if group > 1:  # of narrower windows: the same pages do
                inputs[f"slots_{group}"] = inputs["slots"]
                inputs[f"page_tables_{group}"] = inputs["page_tables"]
        if embeddings is not None:
            inputs["embeddings"] = (embeddings[0], F32)
            inputs["embedded"] = (embeddings[1], BOOL)
        inputs.update(self.chosen(begins, leave or {}))
        inputs.update(changed or {})
        arrays = {k: np.ascontiguousarray(v, DTYPES[t]) for k, (v, t) in inputs.items()}
        if outputs:
            return self.execute(self.session, arrays, len(outputs), outputs)
        return self.execute(self.session, arrays, 1)[0]
