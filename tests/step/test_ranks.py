"""The grid: one process and one batch, against every cut over micro-batches and ranks.

All cases of a world size run in one set of processes; each is then asserted by a test of its own.
"""

import pytest
import torch

import rank_cases
import rank_processes

pytestmark = pytest.mark.ranks

WORLDS = (1, 2, 3, 4)
CASES = rank_cases.grid()


@pytest.fixture(scope="module", params=WORLDS, ids="{0}-ranks".format)
def seen(request, tmp_path_factory):
    world = request.param
    folder = tmp_path_factory.mktemp(f"world-{world}")
    return world, rank_processes.run("rank_grid:run_grid", world, folder, seconds=240)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_step_over_ranks_is_that_of_one_process_and_one_batch(seen, case):
    world, by_rank = seen
    tolerance = 1e-12 if case.dtype == "float64" else 2e-6
    expected = rank_cases.reference(case, rank_cases.data_of(case, world))
    for rank in range(world):
        for ours, wanted in zip(by_rank[rank][str(case)], expected, strict=True):
            assert ours.keys() == wanted.keys()
            for name, value in wanted.items():
                torch.testing.assert_close(
                    torch.as_tensor(ours[name]),
                    torch.as_tensor(value),
                    rtol=tolerance,
                    atol=tolerance,
                )


def test_ranks_hold_the_same_parameters_to_the_last_bit(seen):
    world, by_rank = seen
    for case in map(str, CASES):
        for rank in range(1, world):
            for ours, theirs in zip(by_rank[0][case], by_rank[rank][case], strict=True):
                assert torch.equal(ours["parameters"], theirs["parameters"])


def test_windows_without_data_on_every_rank_take_no_step(seen):
    world, by_rank = seen
    case = rank_cases.Case("ddp", "empty", 1, clip=False, terms=1)
    skipped = [window["skipped"] for window in by_rank[0][str(case)]]
    assert skipped == ([True] * 3 if world == 1 else [False, False, True])
