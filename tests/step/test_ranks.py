"""The grid: one process and one batch, against every cut over micro-batches and ranks.

All cases of a world size run in one set of processes; each is then asserted by a test of its own.
"""

import json

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import rank_cases
import rank_precision
import rank_processes

pytestmark = pytest.mark.ranks

WORLDS = (1, 2, 3, 4)
CASES = rank_cases.grid()
DRAWN_OVER, DRAWS = 3, 20


def drawn_cuts() -> list:
    """Sizes of micro-batches by window and rank; ranks of three processes need them at once."""
    cuts = []
    rank = st.lists(st.integers(0, 5), max_size=3)
    ranks = st.lists(rank, min_size=DRAWN_OVER, max_size=DRAWN_OVER)
    windows = st.lists(ranks, min_size=rank_cases.WINDOWS, max_size=rank_cases.WINDOWS)

    @settings(max_examples=DRAWS, phases=[Phase.generate], database=None)
    @given(windows)
    def draw(cut):
        cuts.append(cut)

    draw()
    return cuts


@pytest.fixture(scope="module", params=WORLDS, ids="{0}-ranks".format)
def seen(request, tmp_path_factory):
    world = request.param
    folder = tmp_path_factory.mktemp(f"world-{world}")
    if world == DRAWN_OVER:
        (folder / "cuts.json").write_text(json.dumps(drawn_cuts()))
    return world, rank_processes.run("rank_grid:run_grid", world, folder, seconds=240)


def assert_is_that_of_one_process(seen, case):
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


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_step_over_ranks_is_that_of_one_process_and_one_batch(seen, case):
    assert_is_that_of_one_process(seen, case)


@pytest.mark.parametrize("seen", [DRAWN_OVER], indirect=True, ids="{0}-ranks".format)
def test_so_it_is_for_any_cut_over_ranks_and_micro_batches(seen):
    cases = rank_cases.ragged(drawn_cuts())
    assert len(cases) >= DRAWS
    for case in cases:
        assert_is_that_of_one_process(seen, case)


def distance(one, other):
    return torch.linalg.vector_norm(one - other).item()


# another cut rounds elsewhere, by chance nearer or further; gradients of parameters in bfloat16
# are rounded again with every micro-batch and every rank that is added to them
FURTHER = {"autocast": 1.1, "scaled": 1.1, "bfloat16": 1.5}


@pytest.mark.parametrize("seen", [rank_precision.RANKS], indirect=True, ids="{0}-ranks".format)
@pytest.mark.parametrize("case", rank_precision.CASES)
def test_a_narrow_precision_is_as_near_to_float64_as_the_batch_uncut(seen, case):
    precision = case.split("-")[1]
    truth = rank_precision.uncut(case, "float64")
    uncut = distance(rank_precision.uncut(case, precision), truth)
    assert uncut > 0
    for by_case in seen[1]:
        assert distance(by_case[case]["gradient"], truth) <= FURTHER[precision] * uncut


@pytest.mark.parametrize("seen", [rank_precision.RANKS], indirect=True, ids="{0}-ranks".format)
@pytest.mark.parametrize("case", [c for c in rank_precision.CASES if "scaled" in c])
def test_an_overflow_on_one_rank_is_skipped_by_all_and_halves_the_scale(seen, case):
    for by_case in seen[1]:
        assert by_case[case]["skipped"]
        assert by_case[case]["moved"] == 0
        assert by_case[case]["scale"] == 2.0**9


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
