"""Rows that accelerate repeats, of batches that rank 0 deals out and of streams."""

from types import SimpleNamespace

import pytest
from torch.utils.data import IterableDataset

import batchproof as bp
from batchproof.integrations import _recut_parts
from batchproof.integrations._recut_parts import counting_of


class Share(IterableDataset):
    """A rank's share of a stream, with the attributes of accelerate's."""

    num_processes, batch_size, drop_last, split_batches = 2, 2, False, False

    def __init__(self, dataset):
        self.dataset = dataset

    def __iter__(self):
        return iter(self.dataset)


@pytest.fixture(autouse=True, params=[0, 1])
def rank(request, monkeypatch):
    monkeypatch.setattr(_recut_parts, "world_size", lambda: 2)
    monkeypatch.setattr(_recut_parts, "rank", lambda: request.param)
    return request.param


def state_of(remainder, *, ends=True, **loader):
    return SimpleNamespace(
        active_dataloader=SimpleNamespace(**{"dataset": range(9), "slice_fn": None} | loader),
        end_of_dataloader=ends,
        remainder=remainder,
    )


@pytest.mark.parametrize(("rows", "by_rank"), [(1, (1, 0)), (3, (2, 1)), (7, (4, 3))])
def test_rows_that_complete_a_batch_of_rank_0_count_nothing(rank, rows, by_rank):
    counting = counting_of(state_of(rows, drop_last=False))
    assert counting == (by_rank[rank], by_rank[0])


def test_all_rows_count_where_none_completes_a_batch():
    for state in (
        state_of(4, drop_last=False),
        state_of(3, drop_last=True),
        state_of(3, drop_last=False, ends=False),
    ):
        assert counting_of(state) is None


def test_a_stream_that_a_rank_completes_by_itself_is_refused():
    state = state_of(-1, dataset=Share(iter(range(9))), ends=False)
    with pytest.raises(bp.SettingError, match=r"of this stream .*dispatch_batches=True"):
        counting_of(state)
