"""Run neural networks that Ferrite compiled ahead of time.

    import ferrite, numpy as np

    ferrite.compile("minilm.onnx", "minilm.so")      # with the program `ferrite`
    model = ferrite.load("minilm.so")
    ids = np.array([[101, 7592, 2088, 102]])
    result = model.run(input_ids=ids, attention_mask=np.ones_like(ids),
                       token_type_ids=np.zeros_like(ids))
    result["sentence_embedding"]                     # a NumPy array

The runtime is in this package; the compiler is not, and LLVM is never loaded.
"""

from ._compile import compile, find_executable
from ._errors import CompileError, Error, Status
from ._generate import Finish, Generator, Request, Text, Token
from ._model import (
    Entry,
    LaunchProfile,
    Memory,
    Model,
    Session,
    Shape,
    Symbol,
    Tensor,
    default_threads,
    load,
)
from ._step import Run, Sequence, Step
from ._runtime import version as _version

__version__: str = _version()

__all__ = [
    "CompileError",
    "Entry",
    "Error",
    "Finish",
    "Generator",
    "LaunchProfile",
    "Memory",
    "Model",
    "Request",
    "Run",
    "Sequence",
    "Session",
    "Shape",
    "Status",
    "Step",
    "Symbol",
    "Tensor",
    "Text",
    "Token",
    "compile",
    "default_threads",
    "find_executable",
    "load",
]
