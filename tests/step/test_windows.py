"""Windows: every batch once, in order, at most `accumulate` together."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import batchproof as bp


@given(batches=st.lists(st.integers()), accumulate=st.integers(1, 7))
def test_windows_hold_every_batch_once_in_order(batches, accumulate):
    found = list(bp.windows(batches, accumulate))
    assert [batch for window in found for batch in window] == batches
    assert all(1 <= len(window) <= accumulate for window in found)
    assert all(len(window) == accumulate for window in found[:-1])


def test_windows_draw_no_further_than_they_must():
    drawn = []

    def loader():
        for number in range(10):
            drawn.append(number)
            yield number

    assert next(iter(bp.windows(loader(), 3))) == [0, 1, 2]
    assert drawn == [0, 1, 2]


@pytest.mark.parametrize("accumulate", [0, 2.5, "4", None])
def test_a_window_of_no_number_of_batches_is_refused(accumulate, unchecked):
    with pytest.raises(bp.SettingError, match=f"accumulate is {accumulate!r}; expected a whole"):
        bp.windows([1], accumulate)


def test_windows_print_as_their_loader_and_number_of_batches():
    assert repr(bp.windows([1, 2, 3], accumulate=2)) == "Windows(list, accumulate=2)"


def test_every_pass_restarts_the_loader():
    cut = bp.windows(range(5), accumulate=2)
    assert list(cut) == list(cut) == [[0, 1], [2, 3], [4]]


@given(count=st.integers(0, 20), accumulate=st.integers(1, 7))
def test_there_are_as_many_windows_as_the_length_says(count, accumulate):
    cut = bp.windows(range(count), accumulate)
    assert len(cut) == len(list(cut))


def test_a_loader_without_a_length_makes_windows_without_one():
    with pytest.raises(TypeError):
        len(bp.windows(iter([1, 2])))


def test_a_loader_that_is_used_up_is_refused_and_not_empty():
    cut = bp.windows((number for number in range(3)), accumulate=2)
    assert list(cut) == [[0, 1], [2]]
    with pytest.raises(bp.SettingError, match="a generator, which gives its batches once"):
        list(cut)


def padded(sizes):
    lengths = torch.tensor(sizes)
    mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
    return {"x": torch.where(mask, 1.0, 0.0), "mask": mask}


def test_windows_are_recut_under_a_budget_of_positions():
    loader = [padded([9, 1, 1]), padded([2, 9, 1]), padded([1, 1, 3])]
    cut = list(bp.windows(loader, accumulate=2, tokens=18))
    assert [[tuple(batch["x"].shape) for batch in window] for window in cut] == [
        [(2, 9), (4, 2)],
        [(3, 3)],
    ]
    assert sum(int(batch["mask"].sum()) for window in cut for batch in window) == 28


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tokens": 0}, "tokens is 0; expected a whole number, 1 or more"),
        ({"lengths": len}, "lengths were given without tokens"),
    ],
)
def test_invalid_budgets_are_refused(options, words, unchecked):
    with pytest.raises(bp.SettingError, match=words):
        bp.windows([padded([1])], **options)
