"""A step on a device: the numbers of one batch in float64 on the CPU, and no wait for them."""

import math
from contextlib import nullcontext

import pytest
import torch

import batchproof as bp
import rank_cases
import rank_cuda
import rank_processes
import step_models as models
from rank_cuda import on_cuda

CUTS = [[[0, 1, 2, 3, 4, 5]], [[0], [1, 2], [3, 4, 5]], [[5, 4, 3, 2], [], [0, 1]]]
WINDOWS = 3
# how far parameters may be after three steps of 0.1
TOLERANCES = {"float32": 5e-6, "bfloat16": 5e-3, "float16": 1e-3}

quiet = pytest.mark.filterwarnings("ignore:Synchronization debug mode")


def optimizer_of(model, name, *, fused):
    if name == "sgd":
        return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, fused=fused)
    # a large eps keeps the rounding of small gradients small
    return torch.optim.AdamW(model.parameters(), 0.1, eps=0.1, fused=fused)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("terms", [1, 2])
@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_a_step_on_cuda_is_that_of_the_whole_batch_in_float64(precision, name, fused, terms, cut):
    model = models.model_of(torch.float32).cuda()
    scaler = torch.amp.GradScaler("cuda", init_scale=2.0**10) if precision == "float16" else None
    step = bp.Step(
        model,
        optimizer_of(model, name, fused=fused),
        max_grad_norm=1.0,
        coefficients={"sides": 0.3} if terms == 2 else None,
        count=models.counted if terms == 2 else None,
        scaler=scaler,
    )
    chosen = models.two_terms if terms == 2 else models.squares

    def loss(model, batch):
        narrow = precision != "float32"
        dtype = getattr(torch, precision)
        with torch.autocast("cuda", dtype) if narrow else nullcontext():
            return chosen(model, batch)

    for seed in range(WINDOWS):
        whole = on_cuda(models.samples_of(seed, torch.float32))
        step(models.cut(whole, cut), loss)
    step.check()
    truth = models.model_of(torch.float32).double()
    models.by_hand(
        truth,
        optimizer_of(truth, name, fused=False),
        models.mean_of_two if terms == 2 else models.mean_of_squares,
        [models.samples_of(seed, torch.float64) for seed in range(WINDOWS)],
        max_grad_norm=1.0,
    )
    models.assert_same(model.cpu().double(), truth, TOLERANCES[precision])


@quiet
@pytest.mark.gpu
@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize("cut", CUTS[:2], ids=str)
def test_no_window_after_the_first_waits_for_cuda(clip, name, cut):
    model = models.model_of(torch.float32).cuda()
    step = bp.Step(model, optimizer_of(model, name, fused=True), max_grad_norm=clip)
    parts = [torch.tensor(part, device="cuda") for part in cut]
    whole = on_cuda(models.samples_of(0, torch.float32))
    window = [{key: value[part] for key, value in whole.items()} for part in parts]
    step(window, models.squares)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            step(window, models.squares)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    step.check()


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_cuda_holds_a_window_back_that_is_not_finite_and_a_later_call_raises(name, clip):
    ours, clean = (models.model_of(torch.float32).cuda() for _ in range(2))
    steps = [
        bp.Step(model, optimizer_of(model, name, fused=True), max_grad_norm=clip)
        for model in (ours, clean)
    ]
    first, second, poisoned = (on_cuda(models.samples_of(n, torch.float32)) for n in range(3))
    poisoned["y"][4] = math.nan
    poisoned["mask"][4] = True
    for step in steps:
        step([first], models.squares)
    kept = [p.detach().clone() for p in ours.parameters()]
    steps[0]([poisoned], models.squares)
    torch.cuda.synchronize()
    for before, after in zip(kept, ours.parameters(), strict=True):
        assert torch.equal(before, after)
    with pytest.raises(bp.NonFiniteError, match=r"^step 2: the total of term 'loss' is nan"):
        steps[0]([second], models.squares)
    for step in steps:
        step([second], models.squares)
        step.check()
    models.assert_same(ours, clean, 1e-6)


class Fused(torch.optim.SGD):
    """Takes found_inf and grad_scale as fused optimisers do, and keeps them."""

    _step_supports_amp_scaling = True

    def step(self, closure=None):
        self.given = {"found_inf": self.found_inf, "grad_scale": getattr(self, "grad_scale", None)}  # type: ignore[attr-defined]


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("terms", [1, 2])
@pytest.mark.parametrize("cut", CUTS[:2], ids=str)
def test_no_number_of_a_device_is_read_on_the_host(clip, terms, cut):
    # tensors on the meta device have no numbers, so that whoever reads one fails
    model = models.model_of(torch.float32).to("meta")
    optimizer = Fused(model.parameters(), 0.1)
    optimizer.state[model[0].weight]["momentum_buffer"] = None
    step = bp.Step(
        model, optimizer, max_grad_norm=clip, count=models.counted if terms == 2 else None
    )
    parts = models.cut(models.samples_of(0, torch.float32), cut)
    window = [{key: value.to("meta") for key, value in part.items()} for part in parts]
    for _ in range(2):
        step(window, models.two_terms if terms == 2 else models.squares)
    assert optimizer.given["found_inf"].is_meta


@pytest.mark.gpu
@pytest.mark.ranks
@pytest.mark.parametrize("world", [1, 2])
def test_steps_over_nccl_are_those_of_one_process_and_one_batch(tmp_path, world):
    if torch.cuda.device_count() < world:
        pytest.skip(f"fewer than {world} CUDA devices")
    by_rank = rank_processes.run("rank_cuda:run_cases", world, tmp_path, cuda=True)
    for case in rank_cuda.CASES:
        expected = rank_cases.reference(case, rank_cases.data_of(case, world))
        for seen in by_rank:
            for ours, wanted in zip(seen[str(case)], expected, strict=True):
                assert ours.keys() == wanted.keys()
                for name, value in wanted.items():
                    torch.testing.assert_close(
                        torch.as_tensor(ours[name]), torch.as_tensor(value), rtol=1e-10, atol=1e-10
                    )


@pytest.mark.gpu
@pytest.mark.ranks
@pytest.mark.parametrize("world", [1, 2])
def test_no_window_over_nccl_waits_for_cuda(tmp_path, world):
    if torch.cuda.device_count() < world:
        pytest.skip(f"fewer than {world} CUDA devices")
    by_rank = rank_processes.run("rank_cuda:step_without_waiting", world, tmp_path, cuda=True)
    assert [seen["steps"] for seen in by_rank] == [4] * world
