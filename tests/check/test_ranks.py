"""The same over several processes; none of them is left behind, whatever happens."""

import multiprocessing
import time

import pytest

import check_cases as cases
from batchproof import ProbeError
from batchproof.check._measure._ranks import kept_ranks

pytestmark = pytest.mark.ranks


@pytest.fixture(scope="module", autouse=True)
def kept():
    """Let the checks of this module start their processes once."""
    with kept_ranks():
        yield
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("case", cases.OVER_RANKS, ids=lambda case: case.title)
def test_a_step_over_ranks_is_judged_rightly(case):
    report = case.probe().check()
    assert set(report.names) == set(case.mistakes), str(report)


@pytest.mark.parametrize("case", cases.EVALUATED_OVER_RANKS, ids=lambda case: case.title)
def test_an_evaluation_over_ranks_is_judged_rightly(case):
    report = case.probe().check()
    assert set(report.names) == set(case.mistakes), str(report)


def probe(run, **more):
    settings = {**cases.RANKS, **more}
    return cases.Case("", cases.SMALL, run, more=settings).probe()


def test_a_rank_that_fails_is_named_and_no_process_is_left():
    with pytest.raises(ProbeError, match=r"rank 1 of 2 failed: KeyError: 'labels'"):
        probe(cases.fails_on_rank_one).check()
    assert not multiprocessing.active_children()


def test_a_rank_that_dies_is_named_and_not_the_one_that_lost_it():
    with pytest.raises(ProbeError, match="rank 1 of 2 died with exit code 9: out of memory"):
        probe(cases.dies_on_rank_one).check()
    assert not multiprocessing.active_children()


def test_a_rank_that_hangs_is_named_within_the_time_limit():
    began = time.monotonic()
    match = (
        r"rank 0 of 2 gave no answer within 3 s while rank 1 was done, "
        r"rank 0 at over_ranks\.py:\d+ in hangs_on_rank_one; a collective"
    )
    with pytest.raises(ProbeError, match=match):
        probe(cases.hangs_on_rank_one, wrap=None, timeout=3.0).check()
    assert time.monotonic() - began < 200
    assert not multiprocessing.active_children()


def test_a_step_that_other_processes_cannot_import_is_refused():
    with pytest.raises(ProbeError, match="Define run, build and collate at the top level"):
        probe(lambda model, optimizer, batches: None).check()
