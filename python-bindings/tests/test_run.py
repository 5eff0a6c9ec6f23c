"""What comes out for what goes in."""

import gc
import pickle
import sys

import ml_dtypes
import numpy as np
import pytest

import ferrite

IDS = np.array([[0, 1, 2], [3, -1, -4]])
MASK = np.array([[1, 1, 0], [1, 2, 1]], np.float32)
SCORE = np.array([[0.5, 1.5, 0], [-3.5, -7, 0.5]], np.float32)


class Foreign:
    """An array of another library: DLPack and nothing else."""

    def __init__(self, array, device=None):
        self.array, self.device = array, device

    def __dlpack__(self, **kwargs):
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self.device or self.array.__dlpack_device__()


def test_arrays_by_name(model):
    for result in (
        model.run({"ids": IDS, "mask": MASK}),
        model.run(mask=MASK, ids=IDS),
        model.run({"ids": IDS}, mask=MASK),
        model.run({"ids": IDS.tolist(), "mask": MASK}),
        model.run(ids=Foreign(IDS), mask=Foreign(MASK), threads=2),
        model.session(threads=1).run(ids=IDS, mask=MASK),
    ):
        assert list(result) == ["score"]
        assert result["score"].dtype == np.float32
        np.testing.assert_array_equal(result["score"], SCORE)


def test_arrays_of_any_layout(model):
    wide = np.zeros((2, 6), np.int64)
    wide[:, ::2] = IDS
    result = model.run(ids=wide[:, ::2], mask=np.asfortranarray(MASK))
    np.testing.assert_array_equal(result["score"], SCORE)
    fixed = MASK.copy()
    fixed.flags.writeable = False
    np.testing.assert_array_equal(model.run(ids=IDS, mask=fixed)["score"], SCORE)


COPIED = {
    "f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16, "f64": np.float64,
    "i8": np.int8, "i16": np.int16, "i32": np.int32, "i64": np.int64,
    "u8": np.uint8, "u16": np.uint16, "u32": np.uint32, "u64": np.uint64, "bool": np.bool_,
}  # fmt: skip


def feed():
    return {name: np.array([1, 0, 2]).astype(dtype) for name, dtype in COPIED.items()}


def test_every_element_type(model):
    results = model.run(feed(), entry="copy")
    assert list(results) == list(COPIED)
    for name, dtype in COPIED.items():
        assert results[name].dtype == dtype, name
        np.testing.assert_array_equal(results[name], feed()[name], err_msg=name)
        assert dict((t.element, t.dtype) for t in model.entries[1].inputs)[name] == dtype


def test_bf16_without_ml_dtypes(handmade, monkeypatch):
    inputs = feed()
    inputs["bf16"] = inputs["bf16"].view(np.uint16)
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    results = ferrite.load(handmade).run(inputs, entry="copy")
    assert results["bf16"].dtype == np.uint16
    np.testing.assert_array_equal(results["bf16"], inputs["bf16"])


# -- Memory --------------------------------------------------------------------


def test_nothing_is_copied(probe):
    model = ferrite.load(probe)
    x = np.arange(5, dtype=np.float32)
    readonly = x.copy()
    readonly.flags.writeable = False
    for array, given in ((x, x), (x, Foreign(x)), (readonly, readonly)):
        result = model.run(x=given)["y"]
        assert result.tolist() == [array.ctypes.data, result.ctypes.data]
    for half in (x.astype(ml_dtypes.bfloat16), x.astype(np.uint16)):
        assert model.run(x=half, entry="address_bf16")["y"][0] == half.ctypes.data


def test_results_own_their_memory(probe):
    model = ferrite.load(probe)
    session = model.session("ones")
    first = session.run(x=np.zeros(1000, np.float32))["y"]
    second = session.run(x=np.zeros(2000, np.float32))["y"]
    assert not np.shares_memory(first, second)
    first[:] = 3
    del session, model
    gc.collect()
    assert (first == 3).all() and (second == 1).all() and second.shape == (2000,)
    assert first.ctypes.data % 64 == 0


def test_scalars_and_empty_results(probe):
    model = ferrite.load(probe)
    assert model.run(x=np.zeros(0, np.float32), entry="ones")["y"].shape == (0,)
    shapes = model.session("meet").output_shapes(x=np.zeros(1, np.float32))
    assert shapes == {"y": (np.dtype(np.int64), ())}


def test_results_in_the_callers_arrays(model, probe):
    score = np.full((2, 3), np.nan, np.float32)
    result = model.run(ids=IDS, mask=MASK, out={"score": score})
    assert result["score"] is score
    np.testing.assert_array_equal(score, SCORE)

    y = np.zeros(2, np.int64)
    ferrite.load(probe).run(x=np.zeros(1, np.float32), out={"y": y})
    assert y[1] == y.ctypes.data

    inputs = feed()
    mine = {"bf16": np.zeros(3, ml_dtypes.bfloat16), "bool": np.zeros(3, np.bool_)}
    results = model.run(inputs, entry="copy", out=mine)
    assert results.keys() == COPIED.keys() and results["bf16"] is mine["bf16"]
    np.testing.assert_array_equal(mine["bf16"], inputs["bf16"])
    np.testing.assert_array_equal(results["i16"], inputs["i16"])


@pytest.mark.parametrize(
    "out, words",
    [
        ({"score": np.zeros((3, 2), np.float32)}, r"is f32 \[2, 3\].* is f32 \[3, 2\]"),
        ({"score": np.zeros((2, 3), np.float64)}, r"is f32 \[2, 3\].* is f64 \[2, 3\]"),
        ({"scores": np.zeros((2, 3), np.float32)}, "no output 'scores'"),
    ],
)
def test_arrays_that_do_not_fit(model, out, words):
    with pytest.raises(ferrite.Error, match=words) as caught:
        model.run(ids=IDS, mask=MASK, out=out)
    assert caught.value.status is ferrite.Status.INVALID_ARGUMENT


def test_arrays_that_cannot_be_written(model):
    strided = np.zeros((2, 6), np.float32)[:, ::2]
    fixed = np.zeros((2, 3), np.float32)
    fixed.flags.writeable = False
    for out in (strided, fixed):
        with pytest.raises(TypeError, match="'score'.*writable and contiguous"):
            model.run(ids=IDS, mask=MASK, out={"score": out})


# -- Errors --------------------------------------------------------------------


@pytest.mark.parametrize(
    "inputs, words",
    [
        ({"ids": IDS}, "'mask' is missing"),
        ({"ids": IDS, "mask": MASK, "extra": MASK}, "no input 'extra'"),
        ({"ids": IDS.astype(np.int32), "mask": MASK}, "'ids' has dtype i32, expected i64"),
        ({"ids": IDS[0], "mask": MASK}, "'ids' has rank 1"),
        ({"ids": IDS, "mask": MASK[:, :2]}, "'sequence' is 3 .*but 2 "),
        ({"ids": np.zeros((1, 65), np.int64), "mask": MASK}, "outside of 1 to 64"),
        ({"ids": IDS + 1, "mask": MASK}, "4"),
    ],
)
def test_inputs_that_do_not_fit(model, inputs, words):
    with pytest.raises(ferrite.Error, match=words) as caught:
        model.run(inputs)
    assert caught.value.status is ferrite.Status.INVALID_ARGUMENT
    np.testing.assert_array_equal(model.run(ids=IDS, mask=MASK)["score"], SCORE)


@pytest.mark.parametrize(
    "value, words",
    [
        (np.zeros((1, 1), np.complex64), "element type that no model has"),
        (np.array([["a"]], object), "no array can be made"),
        (np.zeros((1,) * 9, np.float32), "9 dimensions"),
        (Foreign(np.zeros((0, 0)), device="gone"), "no array can be made|memory of the CPU"),
    ],
)
def test_values_that_are_no_tensors(model, value, words):
    if isinstance(value, Foreign):
        value.array = None  # whatever it says of itself, it cannot be exported
    with pytest.raises(TypeError, match=f"'mask'.*({words})"):
        model.run(ids=[[0]], mask=value)


def test_the_same_name_twice(model):
    with pytest.raises(ferrite.Error, match="twice"):
        model.run({"ids": IDS, "mask": MASK}, ids=IDS)


def test_an_entry_that_is_not_there(model):
    with pytest.raises(ferrite.Error, match="lookup, copy") as caught:
        model.run(ids=IDS, mask=MASK, entry="other")
    assert caught.value.status is ferrite.Status.NOT_FOUND


def test_errors_travel_between_processes():
    error = ferrite.Error("words", ferrite.Status.IO)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.status) == ("words", ferrite.Status.IO)
    failure = pickle.loads(pickle.dumps(ferrite.CompileError("words", 2, {"a": 1})))
    assert (str(failure), failure.exit_code, failure.report) == ("words", 2, {"a": 1})
