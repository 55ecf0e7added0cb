"""Running statistics over ranks: after uneven windows, those of a rank that had data."""

import pytest
import torch

import rank_processes
from batchproof.step._ranks._layout import marked, ranks_in

pytestmark = pytest.mark.ranks


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """The buffers that two ranks end with, by wrapper and numbers of batches."""
    return rank_processes.run("rank_statistics:uneven", 2, tmp_path_factory.mktemp("uneven"))


@pytest.mark.parametrize("wrapper", ["ddp", "bare"])
@pytest.mark.parametrize("counts", ["0 10", "2 5", "5 0"])
def test_all_ranks_end_with_the_statistics_of_torchs_join(uneven, wrapper, counts):
    joined = uneven[0][f"join {counts}"]
    for rank in uneven:
        for name, expected in joined.items():
            torch.testing.assert_close(rank[f"{wrapper} {counts}"][name], expected)


@pytest.mark.parametrize("size", [1, 2, 53, 54, 200])
def test_ranks_that_had_data_are_known_from_the_sums_of_their_marks(size):
    chosen = sorted({0, size // 3, size - 1})
    words = [sum(column) for column in zip(*(marked(r, size) for r in chosen), strict=True)]
    assert ranks_in(words) == chosen
    assert ranks_in(torch.tensor(words, dtype=torch.float64).unbind()) == chosen
