"""Sequences of unequal length: padded and packed forms hold the same elements, and one Mean."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import batchproof as bp
from batchproof.data import Ragged, pad


def ragged_of(lengths, features=()):
    total = sum(lengths)
    values = torch.arange(total, dtype=torch.float64)
    values = values.view(-1, *[1 for _ in features]).expand(total, *features).clone()
    return Ragged.of(list(values.split(lengths)))


lengths = st.lists(st.integers(0, 9), min_size=1, max_size=12)


@given(lengths, st.sampled_from([(), (2,)]))
def test_the_padded_form_holds_each_sequence_and_then_padding(sizes, features):
    ragged = ragged_of(sizes, features)
    padded, mask = ragged.pad(-1), ragged.mask()
    assert padded.shape == ragged.shape
    assert mask.sum(1).tolist() == sizes
    assert torch.equal(padded[mask], ragged.values)
    assert (padded[~mask] == -1).all()


@given(lengths, st.integers(0, 9), st.sampled_from([(), (2,)]))
def test_rows_of_a_pack_hold_whole_sequences_in_order(sizes, spare, features):
    ragged = ragged_of(sizes, features)
    packed = ragged.pack(max(sizes) + spare, value=-1)
    assert packed.num_segments == len(sizes)
    for number in range(len(sizes)):
        mine = packed.segments == number
        assert torch.equal(packed.values[mine], ragged[number])
        assert packed.positions[mine].tolist() == list(range(sizes[number]))
        assert mine.any(1).sum() <= 1
    assert (packed.values[packed.segments == -1] == -1).all()
    assert (packed.segments >= 0).sum() == sum(sizes)


@given(lengths.filter(any), st.sampled_from(["element", "sample", "sample-sum"]))
def test_padding_and_packing_give_the_same_pairs(sizes, unit):
    ragged = ragged_of(sizes)
    padded = bp.reduce(ragged.pad(float("nan")), mask=ragged.mask(), unit=unit)
    packed = ragged.pack(max(sizes) + 1)
    segmented = bp.reduce(
        packed.values,
        segments=packed.segments,
        num_segments=packed.num_segments,
        unit=unit,
    )
    assert torch.equal(padded.total, segmented.total)
    assert torch.equal(padded.weight, segmented.weight)


@given(lengths, st.data())
def test_sequences_are_chosen_like_rows(sizes, data):
    ragged = ragged_of(sizes)
    index = data.draw(st.lists(st.integers(0, len(sizes) - 1), max_size=6))
    chosen = ragged.index_select(0, torch.tensor(index, dtype=torch.int64))
    assert len(chosen) == len(index)
    for place, number in enumerate(index):
        assert torch.equal(chosen[place], ragged[number])
        assert torch.equal(ragged[torch.tensor(index)][place], ragged[number])
    assert ragged[1:].lengths.tolist() == sizes[1:]
    long = ragged.lengths > 2
    assert ragged[long].lengths.tolist() == [size for size in sizes if size > 2]


def test_without_a_length_a_pack_is_one_row():
    packed = ragged_of([3, 0, 2]).pack()
    assert packed.values.tolist() == [[0, 1, 2, 3, 4]]
    assert packed.segments.tolist() == [[0, 0, 0, 2, 2]]


def test_the_length_of_padded_rows_can_be_given():
    ragged = ragged_of([2, 1])
    assert ragged.pad(length=4).shape == (2, 4)
    assert ragged.mask(4).sum() == 3


def test_nothing_is_cut_off_to_fit():
    ragged = ragged_of([2, 5])
    with pytest.raises(bp.ShapeError, match="length is 4 but the longest sequence has 5 elements"):
        ragged.pad(length=4)
    with pytest.raises(bp.ShapeError, match="length is 4 but the longest sequence has 5 elements"):
        ragged.pack(4)
    with pytest.raises(bp.ShapeError, match="dim is 1; a Ragged is indexed by sequence alone"):
        ragged.index_select(1, torch.tensor([0]))


def test_the_index_of_a_sequence_has_bounds():
    ragged = ragged_of([2, 5])
    assert torch.equal(ragged[-1], ragged[1])
    with pytest.raises(IndexError):
        ragged[2]


def test_sequences_that_differ_in_more_than_length_are_refused():
    with pytest.raises(bp.DataError, match=r"sequence 1 has shape \(2, 3\) and sequence 0 \(2,\)"):
        Ragged.of([torch.zeros(2), torch.zeros(2, 3)])
    with pytest.raises(bp.DataError, match="no sequences were given"):
        Ragged.of([])


def test_pad_serves_as_a_collate_function():
    padded, mask = pad([torch.tensor([1.0, 2.0]), torch.tensor([3.0])], -1)
    assert padded.tolist() == [[1.0, 2.0], [3.0, -1.0]]
    assert mask.tolist() == [[True, True], [True, False]]
