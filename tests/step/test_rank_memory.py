"""A rank that runs out of memory begins its passes again, and the others wait for it."""

import pytest
import torch

import rank_memory
import rank_processes
import rank_wrappers

pytestmark = pytest.mark.ranks


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    return rank_processes.run("rank_memory:all_of", 2, tmp_path_factory.mktemp("memory"))


@pytest.mark.parametrize("case", rank_memory.CASES, ids=" ".join)
def test_the_step_is_bit_for_bit_that_of_the_smaller_cut_on_that_rank(seen, case):
    room: list = rank_memory.ROOM[case[1]]
    for by_rank, rows in zip(seen, room, strict=True):
        found = by_rank[" ".join(case)]
        assert (found["splits"] > 0) == (rows is not None)
        assert found["splits"] <= 2
        for mine, other in zip(found["ours"], found["theirs"], strict=True):
            torch.testing.assert_close(mine, other, rtol=0, atol=0)
    first, second = (by_rank[" ".join(case)]["parameters"] for by_rank in seen)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_parameters_that_no_rank_uses_keep_no_gradient(seen):
    expected = rank_wrappers.alone("unused")
    for by_rank in seen:
        found = by_rank["unused"]
        torch.testing.assert_close(found["parameters"], expected, rtol=1e-12, atol=1e-12)
        both, left, _ = found["without"]
        assert not both
        assert left
        assert all("right" in name for name in left)


def test_models_whose_passes_make_collectives_are_refused(seen):
    for by_rank in seen:
        assert "has parameters that are spread over ranks: ranks meet in every" in by_rank["fsdp"]
        assert "the model has SyncBatchNorm 'layers.norm': ranks meet" in by_rank["sync"]
        assert "windows(loader, tokens=...)" in by_rank["sync"]


@pytest.mark.parametrize("wrapper", ["bare", "ddp"])
def test_a_sample_that_does_not_fit_on_one_rank_ends_them_all(tmp_path, wrapper):
    target = "rank_memory:one_sample_too_large"
    rank_processes.statuses(target, 2, tmp_path, wrapper)
    first, second = ((tmp_path / f"{rank}.error").read_text() for rank in range(2))
    assert second.startswith("SampleTooLargeError: step 2: one row alone, a sample, does not")
    assert first.startswith("RankError: rank 1 raised SampleTooLargeError: step 2")
