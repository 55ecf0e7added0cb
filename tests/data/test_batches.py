"""Batches: each sample exactly once an epoch, in an order that seed and epoch alone decide."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, IterableDataset

import batchproof as bp
from batchproof.data import Batches, Ragged, ShardSampler, normalise, shard
from batchproof.data._shards import refuse_repeated

sizes = st.integers(1, 60)
worlds = st.integers(1, 7)


def drawn(batches):
    return [batch[0].tolist() for batch in batches]


@given(st.integers(0, 200), worlds)
def test_shards_hold_every_index_exactly_once(samples, world_size):
    shards = [shard(samples, rank, world_size) for rank in range(world_size)]
    assert sorted(itertools.chain(*shards)) == list(range(samples))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@given(sizes, st.integers(1, 20), worlds, st.booleans(), st.integers(0, 3), st.integers(0, 3))
def test_ranks_draw_every_sample_exactly_once(n, batch_size, world_size, shuffle, seed, epoch):
    everything = []
    for rank in range(world_size):
        batches = Batches(
            torch.arange(n),
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )
        batches.set_epoch(epoch)
        assert len(drawn(batches)) == len(batches)
        assert batches.samples == n
        everything += [index for batch in drawn(batches) for index in batch]
    assert sorted(everything) == list(range(n))


@given(sizes, st.integers(1, 10), st.integers(1, 4), st.booleans())
def test_the_batches_of_all_ranks_are_the_batch_of_one_process(n, batch_size, world, shuffle):
    ranks = [
        drawn(
            Batches(
                torch.arange(n),
                batch_size=batch_size,
                shuffle=shuffle,
                rank=rank,
                world_size=world,
            )
        )
        for rank in range(world)
    ]
    one = drawn(Batches(torch.arange(n), batch_size=batch_size * world, shuffle=shuffle))
    together = [
        sorted(itertools.chain(*parts)) for parts in itertools.zip_longest(*ranks, fillvalue=[])
    ]
    assert together == [sorted(batch) for batch in one]


@given(sizes, st.integers(1, 20), st.integers(0, 5), st.integers(0, 5), st.booleans())
def test_the_rest_of_an_epoch_is_the_rest_of_the_epoch(n, batch_size, epoch, start, shuffle):
    batches = Batches(torch.arange(n), batch_size=batch_size, shuffle=shuffle, seed=3)
    batches.set_epoch(epoch)
    rest = [batch[0].tolist() for batch in batches.batches_from(start)]
    assert rest == drawn(batches)[start:]


def test_the_order_is_a_pure_function_of_seed_and_epoch():
    def order(seed, epoch):
        batches = Batches(torch.arange(100), batch_size=100, shuffle=True, seed=seed)
        batches.set_epoch(epoch)
        return tuple(drawn(batches)[0])

    torch.manual_seed(1)
    first = {(seed, epoch): order(seed, epoch) for seed in range(5) for epoch in range(5)}
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert {key: order(*key) for key in first} == first
    assert torch.equal(torch.get_rng_state(), state)
    assert len(set(first.values())) == 25
    # the order of this release, so that runs resume across machines
    batches = Batches(torch.arange(8), batch_size=8, shuffle=True, seed=0)
    assert drawn(batches) == [[0, 1, 5, 2, 4, 3, 6, 7]]


def test_the_order_is_the_same_whatever_the_default_device():
    batches = Batches(torch.arange(50), batch_size=50, shuffle=True)
    expected = drawn(batches)
    with torch.device("meta"):
        assert drawn(batches) == expected


def test_a_short_last_batch_is_kept_unless_dropped():
    x = torch.arange(10)
    assert drawn(Batches(x, batch_size=4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    kept = Batches(x, batch_size=4, drop_last=True)
    assert drawn(kept) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert len(kept) == 2


def test_columns_stay_aligned_and_keep_their_type():
    x = torch.arange(10, dtype=torch.uint8)
    for images, labels in Batches(x, x.long() * 2, batch_size=3, shuffle=True):
        assert images.dtype == torch.uint8
        assert torch.equal(images.long() * 2, labels)


def test_batches_in_order_are_views():
    x = torch.arange(10)
    first = next(iter(Batches(x, batch_size=4)))[0]
    assert first.data_ptr() == x.data_ptr()


def test_a_transform_sees_each_batch_and_leaves_the_data_alone():
    x = torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8)
    y = torch.tensor([0, 1])
    batches = Batches(x, y, batch_size=2, transform=normalise(0.5, 0.5))
    (images, labels), *_ = batches
    assert images.tolist() == [[-1.0, 1.0], [1.0, -1.0]]
    assert labels.tolist() == [0, 1]
    assert x.tolist() == [[0, 255], [255, 0]]


def test_normalising_is_division_then_standardising():
    x = torch.arange(256, dtype=torch.uint8)
    expected = (x.double() / 255 - 0.1307) / 0.3081
    (found,) = normalise(0.1307, 0.3081)((x,))
    assert found.dtype == torch.float32
    assert (found.double() - expected).abs().max() < 2e-6


@pytest.mark.parametrize("shuffle", [False, True])
def test_ragged_columns_are_drawn_like_tensors(shuffle):
    sequences = [torch.arange(n) + 10 * n for n in (3, 1, 4, 1, 5, 2)]
    ragged = Ragged.of(sequences)
    batches = Batches(ragged, torch.arange(6), batch_size=4, shuffle=shuffle)
    seen = []
    for part, numbers in batches:
        assert isinstance(part, Ragged)
        for i, number in enumerate(numbers.tolist()):
            assert torch.equal(part[i], sequences[number])
            seen.append(number)
    assert sorted(seen) == list(range(6))


def test_an_empty_data_set_is_refused():
    with pytest.raises(bp.DataError, match="the data set is empty; expected at least one sample"):
        Batches(torch.empty(0, 3), batch_size=2)
    with pytest.raises(bp.DataError, match="no columns were given"):
        Batches(batch_size=2)


def test_columns_of_other_lengths_are_refused():
    with pytest.raises(bp.DataError, match=r"columns have shapes \(3,\), \(4, 2\); expected one"):
        Batches(torch.zeros(3), torch.zeros(4, 2), batch_size=2)
    with pytest.raises(bp.DataError, match=r"columns have shapes \(\); expected one"):
        Batches(torch.tensor(1.0), batch_size=2)


@pytest.mark.parametrize(
    "column", [[1.0, 2.0], torch.zeros(3).numpy(), (torch.zeros(3), torch.zeros(3))]
)
def test_a_column_that_is_no_tensor_is_refused(column, unchecked):
    name = type(column).__name__
    with pytest.raises(bp.DataError, match=rf"column 1 is a {name}; .*torch.as_tensor\("):
        Batches(torch.zeros(3), column, batch_size=2)


@pytest.mark.parametrize("batch_size", [0, 2.5, "4", None, True])
def test_a_batch_size_that_is_no_number_of_samples_is_refused(batch_size, unchecked):
    with pytest.raises(bp.SettingError, match=f"batch size is {batch_size!r}; expected a whole"):
        Batches(torch.zeros(3), batch_size=batch_size)


def test_a_rank_that_cannot_be_is_refused():
    with pytest.raises(bp.SettingError, match="rank is 2 of 2; expected 0 to 1"):
        Batches(torch.zeros(3), batch_size=1, rank=2, world_size=2)
    with pytest.raises(bp.SettingError, match="rank is 1 and world_size is None; expected both"):
        Batches(torch.zeros(3), batch_size=1, rank=1)


def test_a_rank_may_have_no_sample():
    batches = Batches(torch.zeros(2), batch_size=4, rank=2, world_size=3)
    assert len(batches) == 0
    assert list(batches) == []


@given(sizes, worlds, st.booleans(), st.integers(0, 3))
def test_the_sampler_gives_every_index_exactly_once_over_ranks(n, world_size, shuffle, epoch):
    everything = []
    for rank in range(world_size):
        sampler = ShardSampler(range(n), shuffle=shuffle, rank=rank, world_size=world_size)
        sampler.set_epoch(epoch)
        assert len(list(sampler)) == len(sampler)
        everything += list(sampler)
    assert sorted(everything) == list(range(n))


def test_the_sampler_serves_a_data_loader():
    data = torch.utils.data.TensorDataset(torch.arange(7))
    sampler = ShardSampler(data, shuffle=True, seed=1, rank=1, world_size=2)
    loader = torch.utils.data.DataLoader(data, batch_size=2, sampler=sampler)
    batches = Batches(torch.arange(7), batch_size=2, shuffle=True, seed=1, rank=1, world_size=2)
    assert [batch[0].tolist() for batch in loader] == drawn(batches)
    before = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != before


def prepared(samples, **settings):
    """Return a loader with a sampler of batches like accelerate's, over two ranks."""
    inner = DataLoader(range(samples), batch_size=2).batch_sampler
    own = {"batch_sampler": inner, "batch_size": 2, "num_processes": 2, "even_batches": True}
    return SimpleNamespace(batch_sampler=SimpleNamespace(**own | settings))


@pytest.mark.parametrize("evaluated", [True, False])
def test_a_loader_of_accelerate_that_repeats_samples_is_refused(evaluated):
    for samples, settings in ((9, {}), (10, {}), (9, {"split_batches": True})):
        with pytest.raises(bp.SettingError, match=r"would count twice.*even_batches=False"):
            refuse_repeated(prepared(samples, **settings), evaluated=evaluated)


@pytest.mark.parametrize(
    ("samples", "settings"),
    [
        (8, {}),
        (10, {"split_batches": True}),
        (9, {"even_batches": False}),
        (9, {"drop_last": True}),
        (9, {"num_processes": 1}),
    ],
)
def test_a_loader_of_accelerate_that_repeats_none_is_not(samples, settings):
    refuse_repeated(prepared(samples, **settings), evaluated=True)


def test_a_sampler_that_repeats_samples_is_refused_where_a_number_is_measured():
    def loader(samples, **settings):
        data = range(samples)
        return DataLoader(data, sampler=DistributedSampler(data, 2, 0, **settings))

    with pytest.raises(bp.SettingError, match=r"draws 10 samples of 9, .*data\.ShardSampler"):
        refuse_repeated(loader(9), evaluated=True)
    refuse_repeated(loader(9), evaluated=False)
    refuse_repeated(loader(10), evaluated=True)
    refuse_repeated(loader(9, drop_last=True), evaluated=True)
    refuse_repeated([1, 2], evaluated=True)


@pytest.mark.parametrize("wrapped", ["batch sampler", "sampler of batches", "progress bar"])
def test_a_sampler_that_repeats_samples_is_refused_wherever_a_loader_draws_from_it(wrapped):
    def loader(samples):
        inner = DistributedSampler(range(samples), 2, 0)
        batches = BatchSampler(inner, 2, drop_last=False)
        return {
            "batch sampler": DataLoader(range(samples), batch_sampler=batches),
            "sampler of batches": DataLoader(range(samples), sampler=batches, batch_size=None),
            "progress bar": SimpleNamespace(iterable=DataLoader(range(samples), sampler=inner)),
        }[wrapped]

    with pytest.raises(bp.SettingError, match="draws 10 samples of 9"):
        refuse_repeated(loader(9), evaluated=True)
    refuse_repeated(loader(10), evaluated=True)


class Stream(IterableDataset):
    """Samples in order; a stream of a rank, with the attributes of accelerate's, where given."""

    def __init__(self, **settings):
        vars(self).update(settings)

    def __iter__(self):
        return iter(range(9))


class SizedStream(Stream):
    samples: int

    def __len__(self):
        return self.samples


def dealt(data, **settings):
    """Return a loader like accelerate's whose batches rank 0 deals out to two ranks."""
    return SimpleNamespace(
        base_dataloader=DataLoader(data, batch_size=4, **settings),
        slice_fn=None,
        state=SimpleNamespace(num_processes=2),
    )


def shared(data, **settings):
    """Return a loader of one of two ranks' share of a stream, as accelerate's."""
    own = {"dataset": data, "num_processes": 2, "batch_size": 2, "drop_last": False}
    return DataLoader(Stream(**own | settings), batch_size=2)


def test_streams_and_batches_of_rank_0_that_repeat_samples_are_refused():
    for loader in (
        dealt(range(9)),
        dealt(Stream()),
        dealt(SizedStream(samples=9)),
        shared(Stream()),
        shared(SizedStream(samples=10)),
        shared(SizedStream(samples=9), split_batches=True),
    ):
        with pytest.raises(bp.SettingError, match=r"would count twice.*data\.ShardSampler"):
            refuse_repeated(loader, evaluated=False)
    for loader in (
        dealt(range(10)),
        dealt(range(9), drop_last=True),
        dealt(SizedStream(samples=10)),
        dealt(Stream(), drop_last=True),
        shared(SizedStream(samples=8)),
        shared(SizedStream(samples=10), split_batches=True),
        shared(Stream(), drop_last=True),
        shared(Stream(), num_processes=1),
    ):
        refuse_repeated(loader, evaluated=True)
