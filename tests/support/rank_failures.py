"""What ranks do when one of them fails, or is not like the others."""

import os
import signal
import time
from pathlib import Path

import torch
import torch.distributed.fsdp
from torch import nn

import batchproof as bp
from batchproof.step import distributed_group

MSE = bp.exact(nn.MSELoss())
BATCH = (torch.ones(2, 3), torch.zeros(2, 1))


def loss(model: nn.Module, batch: tuple) -> bp.Mean:
    return MSE(model(batch[0]), batch[1])


def stepping(model: nn.Module, **settings) -> bp.Step:
    return bp.Step(model, torch.optim.SGD(model.parameters(), lr=0.1), **settings)


def all_ready(folder: Path) -> None:
    """Wait until every rank has imported what a step does, which takes long on a busy machine."""
    stepping(nn.Linear(3, 1))([BATCH], loss)
    (folder / f"{os.environ['RANK']}.ready").touch()
    while len(list(folder.glob("*.ready"))) < int(os.environ["WORLD_SIZE"]):
        time.sleep(0.02)


def in_group(folder: Path, act, *, timeout: float = 60.0) -> None:
    """Run act(rank), and write down the error that ended it."""
    all_ready(folder)
    torch.manual_seed(0)
    try:
        with distributed_group("cpu", timeout=timeout) as place:
            act(place.rank)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        (folder / f"{os.environ['RANK']}.error").write_text(text)


def one_raises(folder: Path, wrapper: str, which: str = "1") -> None:
    def act(rank: int) -> None:
        model = nn.Linear(3, 1)
        if wrapper == "ddp":
            model = nn.parallel.DistributedDataParallel(model)
        step = stepping(model)

        def failing(model: nn.Module, batch: tuple) -> bp.Mean:
            if rank == int(which) and step.steps == 2:
                msg = "the label 7 is out of range"
                raise ValueError(msg)
            return loss(model, batch)

        for _ in range(4):
            step([BATCH], failing)

    in_group(folder, act)


def one_passes_nothing(folder: Path) -> None:
    """Rank 1 closes a window that it had no micro-batch in, after one in which all had."""

    def act(rank: int) -> None:
        model = nn.parallel.DistributedDataParallel(nn.Linear(3, 1))
        step = stepping(model)
        for first in (True, False):
            if first or rank == 0:
                step.backward(loss(model, BATCH))
            step.apply()

    in_group(folder, act)


def one_is_killed(folder: Path) -> None:
    def act(rank: int) -> None:
        step = stepping(nn.Linear(3, 1))
        for _ in range(3):
            step([BATCH], loss)
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        for _ in range(3):
            step([BATCH], loss)

    in_group(folder, act)


def one_hangs(folder: Path) -> None:
    def act(rank: int) -> None:
        step = stepping(nn.Linear(3, 1))

        def slow(model: nn.Module, batch: tuple) -> bp.Mean:
            if rank == 1 and step.steps == 1:
                time.sleep(9)
            return loss(model, batch)

        for _ in range(3):
            step([BATCH], slow)

    in_group(folder, act, timeout=4.0)


def one_hangs_in_evaluation(folder: Path, wrapper: str, where: str) -> None:
    """Rank 1 hangs in an evaluation of which it has done more batches than rank 0 has in all."""

    def act(rank: int) -> None:
        model = nn.Linear(3, 1)
        if wrapper == "fsdp":
            torch.distributed.fsdp.fully_shard(model)
        stepping(model)([BATCH], loss)
        count = 3 if wrapper == "fsdp" or rank == 0 else 9
        late = count - 1

        def hang(index: int) -> None:
            if rank == 1 and index == late:
                time.sleep(9)

        def drawn():
            for index in range(count):
                hang(index if where == "loader" else -1)
                yield (*BATCH, index)

        def slow(model: nn.Module, batch: tuple) -> bp.Mean:
            output = loss(model, batch[:2])
            hang(batch[2] if where == "loss" else -1)
            return output

        bp.evaluate(model, drawn(), slow)

    in_group(folder, act, timeout=4.0)


class Sleeping(torch.autograd.Function):
    """The identity, whose backward pass sleeps for some seconds."""

    @staticmethod
    def forward(ctx, x, seconds):
        ctx.seconds = seconds
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        time.sleep(ctx.seconds)
        return gradient, None


class SlowBack(nn.Module):
    """A model between whose layers the backward pass sleeps."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.seconds = nn.Linear(3, 4), nn.Linear(4, 1), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(Sleeping.apply(self.first(x), self.seconds))


def one_hangs_in_the_last_backward_pass(folder: Path, wrapper: str) -> None:
    """Rank 1 sleeps where the wrapper exchanges gradients, and every rank has come as far."""

    def act(rank: int) -> None:
        inner = SlowBack()
        if wrapper == "ddp":
            model: nn.Module = nn.parallel.DistributedDataParallel(inner, bucket_cap_mb=1e-5)
        else:
            torch.distributed.fsdp.fully_shard(inner.first)
            torch.distributed.fsdp.fully_shard(inner.last)
            model = torch.distributed.fsdp.fully_shard(inner)
        step = stepping(model)
        for second in (False, True):
            inner.seconds = 11 if second and rank == 1 else 0
            step([BATCH], loss)

    in_group(folder, act, timeout=4.0)


def one_hangs_in_a_micro_batch(folder: Path, wrapper: str, which: str, where: str) -> None:
    """Rank 1 sleeps in a micro-batch of the second window, before or after its forward pass."""

    def act(rank: int) -> None:
        model: nn.Module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        if wrapper == "ddp":
            model = nn.parallel.DistributedDataParallel(model)
        elif wrapper == "fsdp":
            torch.distributed.fsdp.fully_shard(model[2])
            torch.distributed.fsdp.fully_shard(model)
        step, calls = stepping(model), 0

        def slow(model: nn.Module, batch: tuple) -> bp.Mean:
            nonlocal calls
            calls += 1
            hangs = rank == 1 and calls == 3 + int(which)
            if hangs and where == "before":
                time.sleep(11)
            mean = loss(model, batch)
            if hangs and where == "after":
                time.sleep(11)
            return mean

        for _ in range(3):
            # rank 2 has a single micro-batch, and waits for the others early
            step([BATCH] * (1 if rank == 2 else 3), slow)

    in_group(folder, act, timeout=4.0)


class Speaking(nn.Linear):
    """A model whose forward pass sums over ranks, as some do for their statistics.

    Args:
        silent: the number of forward passes before the first that does.
    """

    def __init__(self, silent: int = 0) -> None:
        super().__init__(3, 40)
        self.silent = silent

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        self.silent -= 1
        if self.silent >= 0:
            return y
        # larger than all gradients, which gloo would receive in its place
        sums = y.detach().repeat(9, 9)
        torch.distributed.all_reduce(sums)
        return y + 0 * sums[: len(y), : y.shape[1]]


def models_speak(folder: Path, wrapper: str, silent: str, timeout: str, *windows: str) -> None:
    """The model has collectives of its own, and the ranks windows of so many micro-batches."""

    def act(rank: int) -> None:
        model: nn.Module = Speaking(int(silent))
        if wrapper == "ddp":
            model = nn.parallel.DistributedDataParallel(model)
        step = stepping(model)
        for window in windows:
            step([BATCH] * int(window[rank]), wide_loss)

    in_group(folder, act, timeout=float(timeout))


def wide_loss(model: nn.Module, batch: tuple) -> bp.Mean:
    return bp.reduce((model(batch[0]) - batch[1]) ** 2)


def losses_speak(folder: Path, wrapper: str) -> None:
    """The loss counts its samples over ranks before it runs the model."""

    def act(rank: int) -> None:
        model: nn.Module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        if wrapper == "ddp":
            model = nn.parallel.DistributedDataParallel(model)
        step = stepping(model)

        def counting(model: nn.Module, batch: tuple) -> bp.Mean:
            torch.distributed.all_reduce(torch.ones(2000))
            return loss(model, batch)

        for _ in range(2):
            step([BATCH] * (2 if rank == 0 else 3), counting)

    in_group(folder, act)


def evaluations_speak(folder: Path) -> None:
    """An evaluated model gathers over ranks, of which one has more batches."""

    def act(rank: int) -> None:
        def gathering(model: nn.Module, batch: tuple) -> bp.Mean:
            mine = torch.ones(20_000)
            torch.distributed.all_gather([torch.empty_like(mine) for _ in range(2)], mine)
            return loss(model, batch)

        bp.evaluate(nn.Linear(3, 1), [BATCH] * (2 + rank), gathering)

    in_group(folder, act, timeout=4.0)


def called_unequally(folder: Path, statistics: str, more: str) -> None:
    """One rank calls backward(mean) three times in the second window, the other twice."""

    def act(rank: int) -> None:
        layers = [nn.Linear(3, 1)]
        layers += [nn.BatchNorm1d(1)] if statistics == "statistics" else []
        model = nn.parallel.DistributedDataParallel(nn.Sequential(*layers))
        step = stepping(model)
        for times in (2, 3 if rank == int(more) else 2):
            for _ in range(times):
                step.backward(loss(model, BATCH))
            step.apply()

    # ranks that wait for each other would wait for longer than the test does
    in_group(folder, act, timeout=600.0)


def one_differs(rank: int, what: str) -> None:
    odd = rank == 1
    torch.manual_seed(rank if what == "seed" else 0)
    model = nn.Linear(3, 1, bias=not (odd and what == "model"))
    step = stepping(model, max_grad_norm=1.0 if odd and what == "setting" else None)

    def apart(model: nn.Module, batch: tuple) -> bp.Mean | dict:
        squares = (model(batch[0]) - batch[1]) ** 2
        mean = bp.reduce(squares, unit="sample" if odd and what == "unit" else "element")
        return {"other": mean} if odd and what == "term" else mean

    # an empty rank has nothing to disagree with
    step([] if rank == 2 else [BATCH], apart)


def one_is_not_finite(rank: int, wrapper: str) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    if wrapper == "ddp":
        model = nn.parallel.DistributedDataParallel(model)
    step = stepping(model)
    kept = [p.detach().clone() for p in model.parameters()]
    worse = (BATCH[0] * (float("nan") if rank == 1 else 1), BATCH[1])
    try:
        step([BATCH, worse], loss)
    finally:
        assert all(torch.equal(a, b) for a, b in zip(kept, model.parameters(), strict=True))


def one_accumulates_otherwise(rank: int, _: str) -> None:
    next(iter(bp.windows([BATCH] * 4, 2 if rank == 1 else 3)))


def several_terms_uncounted(rank: int, _: str) -> None:
    def two(model: nn.Module, batch: tuple) -> dict:
        return {"one": loss(model, batch), "two": loss(model, batch)}

    torch.manual_seed(0)
    stepping(nn.Linear(3, 1))([BATCH] if rank else [], two)


def a_closure_over_shards(rank: int, _: str) -> None:
    torch.manual_seed(rank)
    model = torch.distributed.fsdp.fully_shard(nn.Linear(3, 4))
    bp.Step(model, torch.optim.LBFGS(model.parameters()))  # type: ignore[attr-defined]


ALIKE = [
    *((one_differs, what) for what in ("model", "seed", "setting", "unit", "term")),
    *((one_is_not_finite, wrapper) for wrapper in ("bare", "ddp")),
    (one_accumulates_otherwise, ""),
    (several_terms_uncounted, ""),
    (a_closure_over_shards, ""),
]


def all_raise(folder: Path) -> dict[str, str]:
    """Return the errors that all ranks raise alike, after which the group continues."""
    raised = {}
    with distributed_group("cpu") as place:
        for act, what in ALIKE:
            try:
                act(place.rank, what)
            except bp.BatchproofError as error:
                raised[f"{act.__name__} {what}".strip()] = f"{type(error).__name__}: {error}"
    return raised
