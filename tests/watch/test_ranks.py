"""Shares are those over all ranks."""

import json

import pytest

import rank_processes


def found(folder, kind):
    processes = rank_processes.start("rank_watch:trained", 2, folder, kind)
    assert rank_processes.finish(processes, 120) == [0, 0], (folder / "0.err").read_text()
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
