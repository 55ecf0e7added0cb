"""Windows: every batch once, in order, at most `accumulate` together."""

import pytest
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

    assert next(bp.windows(loader(), 3)) == [0, 1, 2]
    assert drawn == [0, 1, 2]


@pytest.mark.parametrize("accumulate", [0, 2.5, "4", None])
def test_a_window_of_no_number_of_batches_is_refused(accumulate, unchecked):
    with pytest.raises(bp.SettingError, match=f"accumulate is {accumulate!r}; expected a whole"):
        next(bp.windows([1], accumulate))
