"""Loading and describing."""

import numpy as np
import pytest

import ferrite


def test_what_a_model_says(model):
    assert (model.name, model.level) == ("handmade", "plain")
    assert model.levels == {"avx9000": False, "plain": True}
    assert model.compiler == "by hand"
    assert model.weights_bytes == 16 and model.weights_path is None
    assert [entry.name for entry in model.entries] == ["lookup", "copy"]
    ids, mask = model.inputs
    assert (ids.name, ids.element, ids.dtype) == ("ids", "i64", np.dtype(np.int64))
    assert ids.shape == ("batch", "sequence") and ids.id_limit == 4
    assert mask.id_limit is None
    assert model.outputs[0].shape == (None, None)
    assert model.symbols == (("batch", 1, None), ("sequence", 1, 64))
    assert model.entries[1].inputs[0].shape == (3,)
    assert "handmade" in repr(model) and "ids: i64" in repr(model)


def test_describe(model, probe):
    description = model.describe()
    assert description["fusions"][0]["records"][0]["node"] == "/1/Softmax"
    assert ferrite.load(probe).describe() == {}


def test_bytes_and_paths(handmade):
    for source in (handmade, str(handmade), handmade.read_bytes()):
        assert ferrite.load(source).name == "handmade"


def test_a_level_by_name(handmade):
    assert ferrite.load(handmade, level="plain").level == "plain"
    assert ferrite.load(handmade, "plain").level == "plain"


@pytest.mark.parametrize(
    "level, status", [("avx9000", "INCOMPATIBLE"), ("sse", "NOT_FOUND")]
)
def test_levels_that_fail(handmade, level, status):
    with pytest.raises(ferrite.Error, match=level) as caught:
        ferrite.load(handmade, level)
    assert caught.value.status is ferrite.Status[status]


def test_files_that_are_no_model(handmade, tmp_path):
    def status(source):
        with pytest.raises(ferrite.Error) as caught:
            ferrite.load(source)
        assert "\n" not in str(caught.value)
        return caught.value.status

    text = tmp_path / "text.so"
    text.write_text("no model")
    truncated = tmp_path / "truncated.so"
    truncated.write_bytes(handmade.read_bytes()[:3000])
    assert status(tmp_path / "missing.so") is ferrite.Status.NOT_FOUND
    assert status(text) is ferrite.Status.INCOMPATIBLE
    assert status(truncated) is ferrite.Status.INCOMPATIBLE
    assert status(b"no model") is ferrite.Status.INCOMPATIBLE


def test_version():
    assert ferrite.__version__.count(".") == 2
    assert ferrite.default_threads() >= 1
