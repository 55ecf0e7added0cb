"""Shares are those over all ranks."""

import json

import pytest

import rank_processes


def found(folder, kind, run="trained"):
    statuses = rank_processes.statuses(f"rank_watch:{run}", 2, folder, kind)
    assert statuses == [0, 0], (folder / "0.err").read_text()
    return json.loads((folder / "found.json").read_text())


@pytest.mark.ranks
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "names", "whole"),
    [
        ("equal", [], 1.0),
        ("uneven", ["mean-of-micro-batch-means"], 1.0),
        ("exact", [], 1.0),
        ("forgotten", ["world-size-factor"], 0.5),
    ],
)
def test_shares_of_two_ranks_add_up(tmp_path, kind, names, whole):
    report = found(tmp_path, kind)
    assert report["names"] == names
    assert report["sums"] == pytest.approx([whole] * 3, rel=1e-6)
    assert report["parts"] == [4, 4, 4]
    assert not report["missed"]


@pytest.mark.ranks
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "names", "of"),
    [
        ("pooled", [], "the mean by weight over the batches of the pass on all ranks"),
        ("means", ["mean-over-ranks"], "the mean of the ranks' own means"),
        ("mode", ["evaluation-in-train-mode"], "on all ranks"),
    ],
)
def test_a_number_of_rank_0_is_held_against_what_all_ranks_computed(tmp_path, kind, names, of):
    report = found(tmp_path, kind, "evaluated")
    assert report["names"] == names
    assert of in report["is"]


@pytest.mark.ranks
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "names"), [("exact", []), ("means", ["mean-of-micro-batch-means"])]
)
def test_passes_that_fully_shard_does_not_reduce_yet_are_in_the_window(tmp_path, kind, names):
    report = found(tmp_path, kind, "sharded")
    assert report["names"] == names
    assert report["parts"] == [4, 4, 4]
    assert report["sums"] == pytest.approx([1.0] * 3, rel=1e-6)
    assert not report["missed"]
