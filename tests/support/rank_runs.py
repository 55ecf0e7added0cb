"""Runs over ranks that are stopped, killed and resumed, by as many ranks or others."""

import json
import os
import signal
from pathlib import Path

import torch
from torch import nn

import batchproof as bp
import rank_cases
import rank_training
from batchproof.step import distributed_group
from batchproof.train import Callback, _signals
from batchproof.train._checkpoints import _folder

LOSS = rank_training.LOSS
SHARED = ("ddp", "fsdp")


def dropping(wrapper: str, *, normed: bool = False) -> nn.Module:
    torch.manual_seed(3)
    layers = [nn.Linear(3, 5), nn.Dropout(0.3), nn.Sequential(nn.Linear(5, 5), nn.Tanh())]
    if normed:
        # whose running statistics are each rank's own
        layers.append(nn.BatchNorm1d(5))
    return rank_cases.wrapped(nn.Sequential(*layers, nn.Linear(5, 2)).double(), wrapper)


class At(Callback):
    """Does something after a step, on one rank."""

    def __init__(self, step: int, rank: int, act) -> None:
        self.step, self.act = step, act if os.environ.get("RANK", "0") == str(rank) else None

    def on_step(self, position, result) -> None:
        if self.act is not None and position.step == self.step:
            self.act()


def trainer_in(run: Path, wrapper: str, *, normed: bool = False, **options) -> bp.Trainer:
    model = dropping(wrapper, normed=normed)
    return bp.Trainer(
        model,
        LOSS,
        torch.optim.AdamW(model.parameters(), 0.01),
        accumulate=2,
        ema=0.8,
        device="cpu",
        run_dir=run,
        progress=False,
        seed=5,
        log_every=1,
        **options,
    )


class Told:
    """Validation batches; with the second of a pass the process is sent a signal, once."""

    def __init__(self, ranks: str = "") -> None:
        self.batches, self.drawn = rank_training.batches(size=2), 0
        self.told = os.environ.get("RANK", "0") not in ranks

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self):
        self.drawn = 0
        for batch in self.batches:
            self.drawn += 1
            if self.drawn == 2 and not self.told:
                self.told = True
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch


def fit(
    run: Path, wrapper: str, *, epochs: int = 3, resume: bool = True, val=None, **options
) -> dict:
    trainer = trainer_in(run, wrapper, **options)
    # a batch of one sample has no variance to normalise by
    count = 24 if options.get("normed") else rank_training.SAMPLES
    train = rank_training.batches(count, shuffle=True, size=2)
    val = val or rank_training.batches()
    history = trainer.fit(train, val, max_epochs=epochs, resume=resume)
    best = history.best_state()
    return {
        "notices": history.notices,
        "parameters": rank_training.flat(trainer.model),
        "moments": moments(trainer),
        "best": {name: whole(tensor) for name, tensor in best.items()},
        "estimate": trainer.evaluate(rank_training.batches()).value,
    }


def moments(trainer: bp.Trainer) -> torch.Tensor:
    states = trainer._parts.optimizer.state
    kept = [states[p]["exp_avg"] for p in trainer.model.parameters()]
    return torch.cat([whole(each).flatten() for each in kept])


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def together(folder: Path) -> dict:
    """What ranks do that all end alike, so that one group does all of it."""
    with distributed_group("cpu") as place:
        return {
            "tried": tried(folder),
            "seen": {each: fit(folder / f"{each} whole", each, epochs=2) for each in SHARED},
            "signalled": {each: signalled(folder / f"{each} cut", each) for each in SHARED},
            "told": {each: told(folder, each) for each in SHARED},
            "normed": normed(folder),
            "full": one_cannot_write(folder / "full", place.rank),
        }


def normed(folder: Path) -> str:
    fit(folder / "normed whole", "bare", epochs=2, normed=True)
    return signalled(folder / "normed cut", "bare", normed=True)


def signalled(run: Path, wrapper: str, **options) -> str:
    """One rank gets a signal; all stop after the same step, and go on as if none had."""
    interval, _signals._INTERVAL = _signals._INTERVAL, 0.0
    act = At(4, 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        fit(run, wrapper, epochs=2, callbacks=[act], **options)
    except bp.RunInterruptedError as error:
        fit(run, wrapper, epochs=2, **options)
        return str(error)
    finally:
        _signals._INTERVAL = interval
    return "never stopped"


def told(folder: Path, wrapper: str) -> list:
    """Ranks get a signal in a validation: all, or one; they go on as if none had."""
    interval, _signals._INTERVAL = _signals._INTERVAL, 0.0
    seen = []
    try:
        fit(folder / f"{wrapper} untold", wrapper, epochs=2, val=Told())
        for ranks in ("01", "1"):
            run, val = folder / f"{wrapper} told {ranks}", Told(ranks)
            try:
                fit(run, wrapper, epochs=2, val=val)
            except bp.RunInterruptedError as error:
                seen.append([str(error), val.drawn, len(val)])
            fit(run, wrapper, epochs=2, val=Told())
    finally:
        _signals._INTERVAL = interval
    return seen


def tried(folder: Path) -> list[str]:
    """A dry run puts everything back, and keeps nothing."""
    said = []
    for wrapper in rank_cases.WRAPPERS:
        trainer = trainer_in(folder / "tried", wrapper)
        before = rank_training.flat(trainer.model)
        said.append(trainer.dry_run(rank_training.batches(size=2), rank_training.batches()))
        assert torch.equal(before, rank_training.flat(trainer.model))
    return said


def one_cannot_write(run: Path, rank: int) -> str:
    """The disk is full on rank 1 while it writes its shards."""
    from torch.distributed.checkpoint import filesystem

    written, create = [], filesystem.FileSystem.create_stream

    def full(*arguments):
        written.append(arguments)
        if rank == 1 and len(written) == 3:
            raise OSError(28, "No space left on device")
        return create(*arguments)

    filesystem.FileSystem.create_stream = full
    try:
        fit(run, "fsdp", epochs=2)
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    finally:
        filesystem.FileSystem.create_stream = create
    return "never full"


def killed(folder: Path, where: str) -> dict:
    """Rank 1 is killed: after a step, or while all write a checkpoint."""

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    at = []
    if where == "step":
        at = [At(5, 1, kill)]
    elif os.environ["RANK"] == "1":
        written, write = [], _folder.write_shards

        def write_and_die(*arguments) -> dict:
            written.append(arguments)
            return kill() if len(written) == 5 else write(*arguments)

        _folder.write_shards = write_and_die
    with distributed_group("cpu"):
        return fit(folder / where, "fsdp", checkpoint_every_steps=2, callbacks=at)


def resumed(folder: Path, run: str, wrapper: str, options: str = "{}") -> dict:
    with distributed_group("cpu"):
        return fit(Path(run), wrapper, **json.loads(options))
