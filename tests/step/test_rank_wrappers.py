"""DistributedDataParallel as people set it up: the step is that of one process, or is refused."""

import pytest
import torch

import rank_cases
import rank_processes
import rank_wrappers

pytestmark = pytest.mark.ranks


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    return rank_processes.run("rank_wrappers:all_of", 2, tmp_path_factory.mktemp("wrappers"))


@pytest.mark.parametrize("wrapper", ["bare", "ddp"])
@pytest.mark.parametrize("case", rank_wrappers.CASES)
def test_unused_parameters_and_sparse_gradients_are_those_of_one_process(seen, case, wrapper):
    expected = rank_wrappers.alone(case)
    for by_rank in seen:
        ours = by_rank[f"{case} {wrapper}"]
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("wrapper", rank_cases.WRAPPERS)
def test_layers_that_are_frozen_whole_change_nothing_for_the_rest(seen, wrapper):
    expected = rank_wrappers.with_frozen_layers(wrapper, None)
    for by_rank in seen:
        ours = by_rank[f"frozen {wrapper}"]
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


# of the largest gradient: what the hook's own rounding allows
NEAR = {"all-reduce": 2e-6, "summing": 2e-6, "bf16": 2e-2, "fp16": 2e-3}


@pytest.mark.parametrize("hook", NEAR)
def test_a_communication_hook_that_averages_or_sums_is_measured_and_divided_by(seen, hook):
    case = rank_cases.Case("ddp", "uneven", 3, clip=False, terms=1, dtype="float32")
    model = rank_cases.model_of(torch.float32)
    batches = [batch for rank in rank_cases.data_of(case, 2)[0] for batch in rank]
    rank_cases.oracle(case, model, batches).backward()
    expected = torch.cat([p.grad.double().flatten() for p in model.parameters()])
    for by_rank in seen:
        # the gradient is left as the wrapper made it: in proportion to that of the mean
        ours = by_rank[hook]
        ours = ours * (ours @ expected) / (ours @ ours)
        away = (ours - expected).abs().max() / expected.abs().max()
        assert away < NEAR[hook]


def test_a_hook_that_scales_otherwise_is_refused(seen):
    for by_rank in seen:
        assert "turns a gradient of 1 on one of 2 ranks into 0.3" in by_rank["halving"]
        assert "Look for a communication hook" in by_rank["halving"]


def test_a_hook_that_carries_gradients_over_to_the_next_window_is_refused(seen):
    for by_rank in seen:
        assert "communication hook powerSGD_hook, which carries gradients" in by_rank["powerSGD"]
