"""Windows of a data set: every sample once an epoch, in its window, whatever the cut."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import pad_sequence

from batchproof import CheckpointError, DataError, SettingError
from batchproof.data import Padding, windows_of
from batchproof.data._windows_of import _Epoch

SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=40)


def collate(samples):
    return pad_sequence(samples, batch_first=True)


def texts_of(sizes):
    """Sequences of these lengths, each of its own number."""
    return [torch.full((size,), number + 1) for number, size in enumerate(sizes)]


def drawn(sizes, **options):
    options = {"samples": 8, "tokens": 40, "length": sizes, "collate": collate, **options}
    return windows_of(texts_of(sizes), **options)


def numbers(window):
    return sorted(int(row[0]) - 1 for batch in window for row in batch)


@given(SIZES, st.integers(1, 9), st.integers(1, 60), st.integers(0, 3), st.integers(0, 3))
def test_every_sample_is_drawn_once_an_epoch_within_its_budget(sizes, samples, tokens, seed, epoch):
    windows = drawn(sizes, samples=samples, tokens=tokens, seed=seed, epoch=epoch)
    found = list(windows)
    assert len(found) == len(windows)
    assert sorted(n for window in found for n in numbers(window)) == list(range(len(sizes)))
    for window in found:
        for batch in window:
            assert batch.numel() <= tokens or len(batch) == 1
            assert (batch != 0).any(0).all()


@given(SIZES, st.integers(1, 60), st.integers(1, 60), st.booleans())
def test_the_budget_and_the_lengths_by_call_leave_the_windows_as_they_are(
    sizes, tokens, other, shuffle
):
    one = drawn(sizes, tokens=tokens, shuffle=shuffle)
    called = drawn(sizes, tokens=other, length=len, shuffle=shuffle)
    assert [numbers(w) for w in one] == [numbers(w) for w in called]
    if not shuffle:
        assert [n for w in one for n in numbers(w)] == list(range(len(sizes)))


@given(SIZES, st.integers(1, 5), st.booleans())
def test_ranks_share_every_window_without_a_sample_lost_or_twice(sizes, ranks, by_call):
    windows = drawn(sizes, length=len if by_call else sizes)
    shares = [_Epoch(windows._source, 0, rank, ranks) for rank in range(ranks)]
    for number, whole in enumerate(windows):
        parts = [share[number] for share in shares]
        assert sorted(n for part in parts for n in numbers(part)) == numbers(whole)
        assert {part.longest for part in parts} == {max(map(len, parts))}
        filled = [rank for rank, part in enumerate(parts) if part]
        assert all(part.filled == filled for part in parts)
        together = sum((part.padding or Padding() for part in parts), Padding())
        assert together.tokens == whole.padding.tokens == sum(b.count_nonzero() for b in whole)
        assert together.after == sum(batch.numel() for part in parts for batch in part)


def test_a_pass_begins_behind_the_windows_that_a_state_had_drawn():
    sizes = list(range(1, 30))
    whole = [numbers(window) for window in drawn(sizes)]
    windows = drawn(sizes)
    for done, _ in enumerate(windows, start=1):
        resumed = drawn(sizes)
        resumed.load_state_dict(windows.state_dict())
        # a loop that sets the epoch before each pass does not begin it again
        resumed.set_epoch(0)
        assert resumed.state_dict() == windows.state_dict()
        assert [numbers(window) for window in resumed] == whole[done:]
        # and the pass after it is whole
        assert [numbers(window) for window in resumed] == whole
    resumed.load_state_dict({**windows.state_dict(), "window": 1})
    resumed.set_epoch(1)
    assert [numbers(w) for w in resumed] == [numbers(w) for w in drawn(sizes, epoch=1)] != whole


def test_a_state_of_other_windows_is_refused():
    with pytest.raises(CheckpointError, match=r"'seed': 1.*'seed': 0"):
        drawn([1, 2, 3]).load_state_dict(drawn([1, 2, 3], seed=1).state_dict())


def test_windows_are_shown_by_their_size():
    assert repr(drawn([1, 2, 3])) == "DatasetWindows(3 samples, 8 a window)"


class Noisy:
    """A data set that draws from all global generators."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return torch.tensor([index, torch.rand(()), random.random(), np.random.rand()])


@pytest.mark.parametrize("other", [{"workers": 2}, {"tokens": 100}, {"length": lambda s: 4}])
def test_what_a_data_set_draws_depends_on_no_worker_and_no_cut(other):
    options = {"samples": 6, "tokens": 8, "length": [4] * 12, "collate": torch.stack}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one = torch.cat([batch for window in windows_of(Noisy(), **options) for batch in window])
    assert torch.equal(torch.get_rng_state(), state)
    windows = windows_of(Noisy(), **{**options, **other})
    again = torch.cat([batch for window in windows for batch in window])
    assert torch.equal(one[one[:, 0].argsort()], again[again[:, 0].argsort()])
    assert len(one[:, 1].unique()) == 12
    windows.set_epoch(1)
    later = torch.cat([batch for window in windows for batch in window])
    assert not torch.equal(one[one[:, 0].argsort()], later[later[:, 0].argsort()])


def test_workers_give_windows_that_know_their_padding():
    (window,) = drawn([3, 9, 4], workers=1)
    assert window.padding == Padding(tokens=16, before=27, after=27)
    assert (window.longest, window.filled, window.drawn) == (1, [0], 1)


def test_a_window_is_packed_where_the_collate_function_pads():
    def padded(samples):
        rows = pad_sequence(samples, batch_first=True)
        return {"input_ids": rows, "attention_mask": (rows > 0).long()}

    (window,) = drawn([3, 9, 4], collate=padded, pack=True, tokens=13, shuffle=False)
    assert [batch["input_ids"].tolist() for batch in window] == [[[2] * 9 + [3] * 4], [[1] * 3]]
    assert window.padding == Padding(tokens=16, before=22, after=16)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"samples": 0}, SettingError, "samples is 0; expected a whole number, 1 or more"),
        ({"tokens": 2.5}, SettingError, "tokens is 2.5; expected a whole number, 1 or more"),
        ({"length": [1, 2]}, DataError, "length has 2 numbers but the data set 3 samples"),
        ({"length": [1, 0, 2]}, DataError, "length is 0 for sample 1; expected a whole number"),
        ({"length": lambda s: 0.5}, DataError, "length is 0.5 for sample"),
        ({"tokens": 8, "alone": False}, SettingError, "sample 1 has length 9, more than the 8 tok"),
    ],
)
def test_invalid_settings_are_refused(options, error, words, unchecked):
    with pytest.raises(error, match=words):
        list(drawn([3, 9, 4], **options))


def test_an_empty_data_set_is_refused():
    with pytest.raises(DataError, match="the data set is empty"):
        drawn([])
