"""Texts of decoders: generate.h, with Python's callbacks."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Union

import numpy as np
import numpy.typing as npt

from . import _runtime
from ._model import Model


class Finish(enum.Enum):
    """Why a text ended."""

    STOP = 1  # at a stop token or string
    LENGTH = 2  # at max_tokens
    CANCELLED = 3
    FAILED = 4


class Token(NamedTuple):
    """What a callback gets. `token` is None where a sample ended without one."""

    sample: int
    position: int  # in its sample, from 0
    token: int | None
    finish: Finish | None
    logprob: float
    logprobs: list[tuple[int, float]]  # the most likely, best first


class Text(NamedTuple):
    """One sample of a request."""

    tokens: list[int]  # without the prompt
    finish: Finish
    score: float  # of a beam


class Request:
    """A request at work: see Generator.submit."""

    def __init__(self, raw: _runtime.Request) -> None:
        self._raw = raw

    @property
    def finished(self) -> bool:
        return self._raw.finish != 0

    @property
    def texts(self) -> list[list[int]]:
        """The tokens of each sample so far."""
        return [self._raw.tokens(i) for i in range(self._raw.samples)]

    def cancel(self) -> None:
        """From any thread: the request ends with the next step."""
        self._raw.cancel()

    def result(self) -> list[Text]:
        """Of a finished request; raises ferrite.Error where it failed."""
        self._raw.check()
        if not self.finished:
            raise RuntimeError("the request is not finished: step the generator")
        return [
            Text(
                self._raw.tokens(i),
                Finish(self._raw.sample_finish(i) or self._raw.finish),
                self._raw.score(i),
            )
            for i in range(self._raw.samples)
        ]


_SPECULATION = {None: 0, "lookup": 1, "draft": 2}
_SAMPLING = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "logit_bias",
)


class Generator:
    """Lets a compiled decoder write: many requests at once, one step at a time.

        generator = ferrite.Generator(ferrite.load("llm.so"))
        [text] = generator.generate([1, 15043], max_tokens=50)
        text.tokens

    It knows token ids alone. `generate` runs one request to its end, `stream`
    gives its tokens as they come; `submit` and `step` serve many at once. One
    thread may step at a time (others wait); any thread may submit and cancel.
    A text depends on its own prompt and options, never on other requests."""

    def __init__(
        self,
        model: Model,
        *,
        entry: str | None = None,
        threads: int = 0,
        step_tokens: int = 0,
        streams: int = 0,
        max_tokens: int = 0,
        cache_pages: int = 0,
        draft: Model | None = None,
        draft_entry: str | None = None,
        draft_tokens: int = 0,
        sharing: bool = True,
        encoders: Sequence[Model] = (),
        kv_evict: str | None = None,
    ) -> None:
        """FerriteGeneratorOptions of generate.h. 0: its defaults. `encoders`: of
        an encoder-decoder, models that run before its own entry of role
        "encode", in order. `kv_evict`: what texts give back, "streaming:64+1024",
        "snapkv:1024+32" or "h2o:512+512"; for the last two compile the model with
        `sparsify="weigh"`."""
        self._raw = _runtime.Generator(
            model._raw,
            entry,
            threads,
            step_tokens,
            streams,
            draft_tokens,
            max_tokens,
            cache_pages,
            draft._raw if draft else None,
            draft_entry,
            sharing,
            [encoder._raw for encoder in encoders],
            kv_evict,
        )
        self._lock = threading.Lock()

    @property
    def vocabulary(self) -> int:
        return self._raw.vocabulary

    @property
    def max_tokens(self) -> int:
        """The most tokens of prompt and text."""
        return self._raw.max_tokens

    @property
    def stats(self) -> dict[str, Union[int, float]]:
        """FerriteGeneratorStats, and pages of the cache."""
        return self._raw.stats()

    def submit(
        self,
        prompt: Sequence[int],
        *,
        max_tokens: int = 0,
        stop_tokens: Sequence[int] = (),
        stop: Sequence[str] = (),
        detokenize: Callable[[list[int]], str] | None = None,
        samples: int = 1,
        beams: int = 0,
        length_penalty: float = 0.0,
        early_stopping: bool = False,
        logprobs: int = 0,
        speculation: str | None = None,
        on_token: Callable[[Token], object] | None = None,
        mask_logits: Callable[[int, list[int], npt.NDArray[np.float32]], object] | None = None,
        source: Mapping[str, Any] | Sequence[int] | None = None,
        leave_out: Sequence[int] = (),
        **sampling: Any,
    ) -> Request:
        """Hands a request in; the next steps work on it.

        `sampling`: temperature (0: greedy), top_k, top_p, min_p,
        repetition_penalty, presence_penalty, frequency_penalty, seed, and
        logit_bias, a dict. `stop` ends a text with a string, which needs
        `detokenize`. `on_token` that returns something true cancels.
        `mask_logits(sample, tokens, logits)` may set logits to -inf.
        `speculation`: "lookup" or "draft" make it faster, and nothing else.
        `source`, of an encoder-decoder: inputs of its encoder by name, of one
        sequence without padding, or token ids; `prompt` then begins the text of
        the decoder. `leave_out`, of an entry that lets runs choose
        ("choose:4-7+9"): numbers of the blocks of layers that this text passes
        by, from 0."""
        if any(not 0 <= block < 64 for block in leave_out):
            raise ValueError(f"leave_out is {list(leave_out)!r}: blocks are numbers from 0")
        if source is None:
            source = {}
        elif not isinstance(source, Mapping):
            source = {"input_ids": np.asarray(source, np.int64).reshape(1, -1)}
        for name in sampling:
            if name not in _SAMPLING:
                raise TypeError(f"no option {name!r}; of sampling there are {', '.join(_SAMPLING)}")
        if speculation not in _SPECULATION:
            raise ValueError(f"speculation is {speculation!r}, not 'lookup', 'draft' or None")
        if isinstance(sampling.get("logit_bias"), Mapping):
            sampling["logit_bias"] = dict(sampling["logit_bias"])

        def tell(
            sample: int, index: int, token: int, finish: int, logprob: float, best: list[Any]
        ) -> object:
            assert on_token is not None
            return on_token(
                Token(
                    sample,
                    index,
                    None if token < 0 else token,
                    Finish(finish) if finish else None,
                    logprob,
                    best,
                )
            )

        def spell(tokens: list[int]) -> bytes:
            assert detokenize is not None
            return detokenize(tokens).encode()

        return Request(
            self._raw.submit(
                [int(token) for token in prompt],
                max_tokens,
                sampling,
                list(stop_tokens),
                [stop] if isinstance(stop, str) else list(stop),
                samples,
                beams,
                length_penalty,
                early_stopping,
                logprobs,
                _SPECULATION[speculation],
                tell if on_token else None,
                mask_logits,
                spell if detokenize else None,
                [(name, np.ascontiguousarray(array), -1) for name, array in source.items()],
                sum(1 << block for block in set(leave_out)),
            )
        )

    def step(self) -> bool:
        """One call of the model, for all requests; False when none is left."""
        with self._lock:
            return self._raw.step()

    def run(self) -> None:
        """Steps until no request is left."""
        while self.step():
            pass

    def generate(self, prompt: Sequence[int], **options: Any) -> list[Text]:
        """One request, options as of `submit`; others go on beside it."""
        request = self.submit(prompt, **options)
        while not request.finished:
            self.step()
        return request.result()

    def stream(self, prompt: Sequence[int], **options: Any) -> Iterator[Token]:
        """The same, token by token. Leaving the loop cancels the request."""
        waiting: list[Token] = []
        request = self.submit(prompt, on_token=lambda token: waiting.append(token), **options)
        try:
            while waiting or not request.finished:
                if waiting:
                    yield waiting.pop(0)
                else:
                    self.step()
            request.result()  # raises where it failed
        finally:
            request.cancel()
