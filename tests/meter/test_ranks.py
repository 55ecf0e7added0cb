"""The meter over ranks: unequal, empty, the same numbers everywhere, and one collective."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import batchproof as bp

# what each of three ranks holds: a rank may have little, or nothing
HELD = {
    "unequal": [[[1.0, 2.0, 3.0], [4.0]], [[50.0]], [[7.0, 8.0]]],
    "one empty": [[], [[1.0, 5.0]], [[2.0]]],
    "all but one empty": [[], [], [[2.0, 3.0], [9.0]]],
}

RANK = """
import json, sys
import torch
from torch import distributed
import batchproof as bp
from batchproof.meter import sync_all

held = json.loads(sys.argv[1])
distributed.init_process_group("gloo")
rank = distributed.get_rank()
calls = []
gather = distributed.all_gather
distributed.all_gather = lambda *a, **k: (calls.append(1), gather(*a, **k))[1]
said = {}
for name, ranks in held.items():
    plain, grouped = bp.Meter(), bp.Meter(by=2)
    for losses in ranks[rank]:
        mean = bp.reduce(torch.tensor(losses))
        plain.add(mean)
        grouped.add(mean, by=torch.arange(len(losses)) % 2)
    calls.clear()
    e = plain.sync().estimate()
    assert len(calls) == 1, calls
    assert plain.sync().estimate() == e and len(calls) == 1
    try:
        plain.add(bp.reduce(torch.ones(1)))
        refused = ""
    except bp.SettingError as error:
        refused = str(error)
    g = grouped.sync().estimate().groups
    said[name] = {
        "estimate": [e.value, e.weight, e.samples, e.standard_error, e.mean_of_batch_means],
        "groups": [[x.value, x.weight, x.samples] for x in g.values()],
        "refused": refused,
    }
# rank 0 has no batch, and so no meter; groups of 500 do not fit in one message
for name, by in (("many", None), ("large", 500)):
    meters = {}
    if rank:
        for term in ("loss", "accuracy") if rank == 1 else ("accuracy", "loss", "other"):
            meter = meters[term] = bp.Meter(by=by)
            losses = torch.arange(4.0) * rank + len(term)
            index = torch.arange(4) * 100 if by else None
            meter.add(bp.reduce(losses), by=index)
    calls.clear()
    sync_all(meters, by=by)
    said[name] = {
        "values": {term: meter.estimate().value for term, meter in meters.items()},
        "weights": {term: meter.estimate().weight for term, meter in meters.items()},
        "collectives": len(calls),
    }
empty = bp.Meter().sync()
try:
    empty.estimate()
except bp.EmptyMeanError as error:
    said["empty"] = str(error)
mixed = bp.Meter()
mixed.add(bp.reduce(torch.ones(1), unit="sample" if rank else "element"))
try:
    mixed.sync()
except bp.UnitError as error:
    said["mixed"] = str(error)
uneven = bp.Meter(by=2 + rank)
uneven.add(bp.reduce(torch.ones(1)), by=torch.tensor([0]))
try:
    uneven.sync()
except bp.RankError as error:
    said["uneven"] = str(error)
print(json.dumps(said))
distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What each of three ranks says."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = tmp_path_factory.mktemp("ranks") / "rank.py"
    script.write_text(RANK)
    command = [sys.executable, str(script), json.dumps(HELD)]
    ranks = []
    try:
        for rank in range(3):
            place = {
                "RANK": str(rank),
                "WORLD_SIZE": "3",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": str(Path(bp.__file__).parent.parent),
            }
            ranks.append(
                subprocess.Popen(
                    command,
                    env=os.environ | place,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        answers = [rank.communicate(timeout=120) for rank in ranks]
        assert all(rank.returncode == 0 for rank in ranks), answers
    finally:
        for rank in ranks:
            rank.kill()  # type: ignore[attr-defined]
            rank.wait()  # type: ignore[attr-defined]
    return [json.loads(out) for out, _ in answers]


@pytest.mark.ranks
@pytest.mark.parametrize("name", HELD)
def test_every_rank_has_the_estimate_of_one_process(said, name):
    meter, grouped = bp.Meter(), bp.Meter(by=2)
    for losses in [losses for rank in HELD[name] for losses in rank]:
        mean = bp.reduce(torch.tensor(losses))
        meter.add(mean)
        grouped.add(mean, by=torch.arange(len(losses)) % 2)
    e, groups = meter.estimate(), grouped.estimate().groups.values()
    for rank in said:
        value, weight, samples, error, naive = rank[name]["estimate"]
        assert (value, weight, samples) == (e.value, e.weight, e.samples)
        assert naive == pytest.approx(e.mean_of_batch_means, rel=1e-12)
        assert error == pytest.approx(e.standard_error, rel=1e-12)
        assert rank[name] == said[0][name]
        assert rank[name]["groups"] == [[g.value, g.weight, g.samples] for g in groups]


@pytest.mark.ranks
def test_adding_after_sync_is_refused(said):
    assert all("holds the sums of all ranks" in rank["unequal"]["refused"] for rank in said)


@pytest.mark.ranks
def test_ranks_without_a_pair_hold_the_mean_of_nothing(said):
    assert all("no pair was added" in rank["empty"] for rank in said)


@pytest.mark.ranks
def test_ranks_of_other_units_are_named(said):
    expected = "rank 0 'element', rank 1 'sample', rank 2 'sample'"
    assert all(expected in rank["mixed"] for rank in said)


@pytest.mark.ranks
@pytest.mark.parametrize(("name", "collectives"), [("many", 1), ("large", 2)])
def test_several_meters_are_synced_together_also_where_a_rank_has_none(said, name, collectives):
    def mean(term, ranks):
        return sum(sum(i * rank + len(term) for i in range(4)) for rank in ranks) / 4 / len(ranks)

    expected = {
        "loss": mean("loss", [1, 2]),
        "accuracy": mean("accuracy", [1, 2]),
        "other": mean("other", [2]),
    }
    for rank in said:
        assert list(rank[name]["values"].items()) == list(expected.items())
        assert rank[name]["weights"] == {"loss": 8, "accuracy": 8, "other": 4}
        assert rank[name]["collectives"] == collectives


@pytest.mark.ranks
def test_ranks_with_other_numbers_of_groups_are_named(said):
    expected = "different numbers of groups: rank 0 2, rank 1 3, rank 2 4"
    assert all(expected in rank["uneven"] for rank in said)


def test_without_ranks_sync_changes_nothing():
    meter = bp.Meter()
    meter.add(bp.reduce(torch.ones(3)))
    meter.sync().add(bp.reduce(torch.zeros(1)))
    assert meter.estimate().value == 0.75
