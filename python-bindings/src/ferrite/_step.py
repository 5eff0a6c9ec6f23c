"""The step entry of a decoder, call by call: what Generator is made of, for those who want
more of it than texts. Embeddings in place of ids, hidden states and sums of attention, runs
that leave layers out, trees of tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence as _List
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _runtime
from ._model import Model, Session

PAGE_TOKENS = 64  # FERRITE_PAGE_TOKENS of abi.h


class Sequence:
    """Tokens whose keys and values are in the pages of a Step. It ends with them: drop it."""

    def __init__(self, raw: _runtime.Sequence) -> None:
        self._raw = raw

    def __len__(self) -> int:
        return self._raw.length

    def fork(self, tokens: int | None = None) -> Sequence:
        """One that begins with the first `tokens` of this, whose pages they share."""
        return Sequence(self._raw.fork(len(self) if tokens is None else tokens))

    def truncate(self, tokens: int) -> None:
        """Forgets all but the first `tokens`."""
        self._raw.truncate(tokens)

    def evict(self) -> int:
        """Gives pages back that no layer's window reaches from the next token; their number."""
        return self._raw.evict(len(self))

    def snapshot(self) -> bytes:
        """All of it; see Step.restore."""
        return self._raw.snapshot()


class Run(NamedTuple):
    """New tokens of a sequence in one call."""

    sequence: Sequence
    tokens: _List[int] | npt.NDArray[np.int64]  # where there are embeddings: any ids
    positions: _List[int] | None = None  # None: they go on from the sequence's length
    visible: _List[int] | None = None  # bits of the run's tokens that each sees: a tree
    embeddings: npt.NDArray[Any] | None = None  # [tokens, size]: count in place of ids
    leaves_out: Iterable[int] = ()  # first layers of blocks ("choose") that it passes by
    weigh: int = 0  # of so many last tokens, what keys get (sparsify="weigh"): "key_weights.N"


class Step:
    """A session of a step entry and its pages.

    `entry`: the model's first step, or one that step_entries named. `pages` of 64 tokens.
    Models that read an encoder's states are for Generator."""

    def __init__(
        self,
        model: Model,
        entry: str | None = None,
        *,
        pages: int = 64,
        max_tokens: int = 0,
        threads: int | None = None,
    ) -> None:
        self._cache = _runtime.Cache(model._raw, entry, pages, max_tokens)
        self._session = Session(model, self._cache.entry, threads=threads)
        self._cache.bind(self._session._raw)
        self.entry = self._session.entry
        self._inputs = {tensor.name: tensor for tensor in self.entry.inputs}
        self._groups = [
            int(name[6:]) for name in self._inputs if name.startswith("slots_")
        ]
        self.blocks = [  # first layers of what runs may leave out
            int(name[11:]) for name in self._inputs if name.startswith("layer_rows_")
        ]
        if "source_lengths" in self._inputs:
            raise ValueError("the entry reads an encoder's states: see Generator")

    @property
    def usage(self) -> dict[str, int]:
        """Of its pages: FerriteCacheUsage."""
        return self._cache.usage()

    def sequence(self) -> Sequence:
        """An empty one."""
        return Sequence(self._cache.sequence())

    def restore(self, snapshot: bytes) -> Sequence:
        """A sequence from Sequence.snapshot, of this model and entry."""
        return Sequence(self._cache.restore(snapshot))

    def run(
        self, runs: Iterable[Run], *, rows: _List[int] | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Computes the new tokens of all runs and appends them to their sequences. Results,
        "logits" and what step_with asked for, are those of the call's tokens `rows`
        (None: of the last token of each run); key weights are of the runs that are
        weighed, in units of 2^-32."""
        runs = list(runs)
        if any(len(run.tokens) == 0 for run in runs):
            raise ValueError("a run has no tokens")
        lengths = [len(run.sequence) for run in runs]
        slots: dict[int, list[int]] = {group: [] for group in (0, *self._groups)}
        done = 0
        try:
            for run, length in zip(runs, lengths):
                run.sequence._raw.append(len(run.tokens))
                done += 1
                places = range(length, length + len(run.tokens))
                for group, of in slots.items():
                    pages = run.sequence._raw.pages(group)
                    of += [pages[i // PAGE_TOKENS] * PAGE_TOKENS + i % PAGE_TOKENS for i in places]
            return self._session.run(self._arrays(runs, lengths, slots, rows))
        except Exception:
            for run, length in list(zip(runs, lengths))[:done]:
                run.sequence.truncate(length)
            raise

    def _arrays(
        self,
        runs: list[Run],
        lengths: list[int],
        slots: Mapping[int, list[int]],
        rows: _List[int] | None,
    ) -> dict[str, npt.NDArray[Any]]:
        begins = np.cumsum([0] + [len(run.tokens) for run in runs])
        if rows is None:
            rows = [int(end) - 1 for end in begins[1:]]
        arrays = {
            "token_ids": np.concatenate([np.asarray(run.tokens, np.int64) for run in runs]),
            "run_begins": begins.astype(np.int32),
            "contexts": np.array(lengths, np.int32),
            "visible": np.concatenate(
                [np.asarray(r.visible or [0] * len(r.tokens), np.int64) for r in runs]
            ),
            "logit_rows": np.asarray(rows, np.int64),
        }
        if "positions" in self._inputs:
            arrays["positions"] = np.concatenate(
                [
                    np.arange(length, length + len(run.tokens), dtype=np.int64)
                    if run.positions is None
                    else np.asarray(run.positions, np.int64)
                    for run, length in zip(runs, lengths)
                ]
            )
        for group, of in slots.items():
            suffix = f"_{group}" if group else ""
            tables = [run.sequence._raw.pages(group) for run in runs]
            width = max(len(table) for table in tables)
            arrays["slots" + suffix] = np.array(of, np.int64)
            arrays["page_tables" + suffix] = np.array(
                [table + [-1] * (width - len(table)) for table in tables], np.int32
            )
        weighed = [i for i, run in enumerate(runs) if run.weigh]
        if "weigh_runs" in self._inputs:
            arrays["weigh_runs"] = np.array(weighed, np.int64)
            arrays["weigh_tokens"] = np.array([runs[i].weigh for i in weighed], np.int32)
        elif weighed:
            raise ValueError('the entry does not weigh keys: compile with sparsify="weigh"')
        self._add_layers(arrays, runs, begins)
        self._add_embeddings(arrays, runs)
        return arrays

    def _add_layers(
        self, arrays: dict[str, npt.NDArray[Any]], runs: list[Run], begins: npt.NDArray[Any]
    ) -> None:
        for run in runs:
            unknown = set(run.leaves_out) - set(self.blocks)
            if unknown:
                raise ValueError(f"no layers to leave out begin at {sorted(unknown)}")
        for block in self.blocks:
            through = [i for i, run in enumerate(runs) if block not in set(run.leaves_out)]
            tokens = [np.arange(begins[i], begins[i + 1]) for i in through]
            arrays[f"layer_runs_{block}"] = np.array(through, np.int64)
            arrays[f"layer_begins_{block}"] = np.cumsum(
                [0] + [len(of) for of in tokens]
            ).astype(np.int32)
            arrays[f"layer_rows_{block}"] = (
                np.concatenate(tokens) if tokens else np.zeros(0)
            ).astype(np.int64)

    def _add_embeddings(self, arrays: dict[str, npt.NDArray[Any]], runs: list[Run]) -> None:
        given = [run for run in runs if run.embeddings is not None]
        if "embeddings" not in self._inputs:
            if given:
                raise ValueError("the entry takes no embeddings: step_with asks for them")
            return
        tensor = self._inputs["embeddings"]
        size = tensor.shape[1]
        assert isinstance(size, int)
        rows, chosen = [], []
        for run in runs:
            shape = (len(run.tokens), size)
            if run.embeddings is None:
                rows.append(np.zeros(shape, tensor.dtype))
            else:
                rows.append(np.asarray(run.embeddings, tensor.dtype))
                if rows[-1].shape != shape:
                    raise ValueError(f"embeddings {rows[-1].shape} of a run, not {shape}")
            chosen.append(np.full(len(run.tokens), run.embeddings is not None))
        arrays["embeddings"], arrays["embedded"] = np.concatenate(rows), np.concatenate(chosen)
