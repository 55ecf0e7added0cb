"""One meter, several threads: nothing is lost, and no total is paired with another's weight."""

import sys
import threading

import pytest
import torch

import batchproof as bp

THREADS, TIMES = 4, 2000


@pytest.fixture(autouse=True)
def eager_switching():
    """Let threads come between each other as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(*acts):
    errors = []

    def run(act):
        try:
            act()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def adding(meter, mean, **by):
    def act():
        for _ in range(TIMES):
            meter.add(mean, **by)

    return act


@pytest.mark.parametrize("pooled", [False, True])
def test_pairs_added_by_several_threads_are_all_there(pooled):
    meter = bp.Meter()
    # each thread's pairs have a mean of their own, so that a wrong pairing shows in the total
    means = [bp.Mean(torch.full((2,), n + 1.0), torch.full((2,), n + 2.0)) for n in range(THREADS)]
    in_threads(*(adding(meter, mean.pool() if pooled else mean) for mean in means))
    estimate = meter.estimate()
    assert estimate.weight == TIMES * sum(2 * (n + 2) for n in range(THREADS))
    assert meter.mean().total == TIMES * sum(2 * (n + 1) for n in range(THREADS))
    assert estimate.samples == (None if pooled else 2 * TIMES * THREADS)


def test_groups_added_by_several_threads_stay_with_their_pairs():
    meter = bp.Meter(by=THREADS)
    acts = []
    for n in range(THREADS):
        mean = bp.Mean(torch.full((n + 1,), n + 1.0), torch.ones(n + 1))
        acts.append(adding(meter, mean, by=torch.full((n + 1,), n)))
    in_threads(*acts)
    for n, group in enumerate(meter.estimate().groups.values()):
        assert (group.value, group.weight) == (n + 1.0, TIMES * (n + 1))


def test_a_meter_may_be_read_saved_and_merged_while_others_add():
    meter, other = bp.Meter(), bp.Meter()
    mean = bp.Mean(torch.ones(2), torch.ones(2))
    other.add(mean)
    weights = []

    def reading():
        for _ in range(50):
            if meter.state_dict()["unit"] is not None:
                weights.append(meter.estimate().weight)
                meter.merge(other)

    in_threads(*[adding(meter, mean)] * THREADS, reading)
    assert weights == sorted(weights)
    assert meter.estimate().weight == 2 * (TIMES * THREADS + len(weights))
