"""Sessions: threads, cancellation, memory, timings, fork."""

import concurrent.futures
import logging
import os

import numpy as np
import pytest

import ferrite

X = np.zeros(1, np.float32)


def test_python_runs_on_while_a_model_runs(probe):
    """Each run waits for the other one to begin: with the lock held, neither would."""
    model = ferrite.load(probe.read_bytes())  # its own copy: nobody arrived before
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(model.run, x=X, entry="meet", threads=1) for _ in range(2)]
        assert [int(run.result()["y"]) for run in runs] == [2, 2]


def test_one_model_in_many_threads(model):
    rng = np.random.default_rng(0)
    table = np.array([0.5, 1.5, 2.5, -3.5], np.float32)

    def work(seed):
        size = (1 + seed % 7, 1 + seed % 50)
        ids = rng.integers(0, 4, size)
        mask = rng.random(size, np.float32)
        return np.array_equal(model.run(ids=ids, mask=mask)["score"], table[ids] * mask)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(200)))
    model.trim()
    assert work(3)


def test_threads(model):
    assert model.session(threads=3).threads == 3
    assert model.session().threads == ferrite.default_threads()
    with pytest.raises(ferrite.Error, match="threads"):
        model.session(threads=-1)


def test_cancel(model):
    session = model.session()
    inputs = {"ids": [[1]], "mask": np.ones((1, 1), np.float32)}
    session.cancel()
    with pytest.raises(ferrite.Error) as caught:
        session.run(inputs)
    assert caught.value.status is ferrite.Status.CANCELLED
    session.cancel()
    session.clear_cancel()
    assert session.run(inputs)["score"] == 1.5


def test_memory(model):
    session = model.session(threads=1)
    inputs = {"ids": np.zeros((5, 2), np.int64), "mask": np.zeros((5, 2), np.float32)}
    needed = session.memory(inputs)
    assert (needed.arena, needed.outputs, needed.weights) == (320, 40, 16)
    assert session.memory().arena == 0
    session.run(inputs)
    assert session.memory().arena >= 320
    session.trim()
    assert session.memory().arena == 0


def test_output_shapes(model):
    shapes = model.session().output_shapes(
        ids=np.zeros((5, 2), np.int64), mask=np.zeros((5, 2), np.float32)
    )
    assert shapes["score"].shape == (5, 2) and shapes["score"].dtype == np.float32


def test_profile(model):
    session = model.session(profile=True)
    with pytest.raises(ferrite.Error):
        session.profile()
    session.run(ids=[[1]], mask=np.ones((1, 1), np.float32))
    (row,) = session.profile()
    assert row.launch == "/embed/Gather, /embed/Mul" and row.kernel == "k0_lookup"
    assert row.units == 1 and row.nanoseconds >= 0


def test_log_lines_reach_logging(model, caplog):
    with caplog.at_level(logging.DEBUG, "ferrite"):
        model.session(threads=2).run(
            ids=np.zeros((64, 64), np.int64), mask=np.zeros((64, 64), np.float32)
        )
    assert any("arena" in record.message for record in caplog.records)


def test_runs_after_fork(model):
    inputs = {"ids": np.ones((4, 9), np.int64), "mask": np.ones((4, 9), np.float32)}
    expected = model.run(inputs, threads=2)["score"].tobytes()
    child = os.fork()
    if child == 0:
        same = model.run(inputs, threads=2)["score"].tobytes() == expected
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
