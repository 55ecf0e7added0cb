"""Training, evaluation and sharded checkpoints as ranks do them."""

from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import batchproof as bp
import rank_cases
from batchproof.data import Batches
from batchproof.meter import AUROC, F1
from batchproof.ranks import rank
from batchproof.step import distributed_group
from batchproof.train import Callback, RunFolder, load_sharded, predict, save_sharded

LOSS = bp.supervised(nn.MSELoss(), metrics={"sides": bp.exact(nn.L1Loss())})
SAMPLES = 23


def samples(count: int = SAMPLES):
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return x, torch.randn(count, 2, generator=generator, dtype=torch.float64)


def batches(count: int = SAMPLES, *, size: int = 4, shuffle: bool = False) -> Batches:
    return Batches(*samples(count), batch_size=size, shuffle=shuffle, seed=1)


def model_of(wrapper: str) -> nn.Module:
    return rank_cases.wrapped(rank_cases.model_of(torch.float64), wrapper)


def flat(model: nn.Module) -> torch.Tensor:
    whole = [p.full_tensor() if hasattr(p, "full_tensor") else p for p in model.parameters()]
    return torch.cat([p.detach().flatten() for p in whole])


def estimates(folder: Path) -> dict:
    found = {}
    with distributed_group("cpu"):
        for wrapper in rank_cases.WRAPPERS:
            for count in (SAMPLES, 5, 2):
                seen = bp.evaluate(model_of(wrapper), batches(count, size=2), LOSS)
                found[f"{wrapper} {count}"] = [
                    seen.value,
                    seen.weight,
                    seen.standard_error,
                    seen.metrics["sides"].value,
                ]
    return found


def answers(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits with ties and their answers, both of which occur."""
    generator = torch.Generator().manual_seed(5)
    logits = torch.randint(-2, 3, (count,), generator=generator).double()
    return logits, (torch.arange(count) % 3 == 0).long()


class Own:
    """A metric that counts samples, and says nothing of ranks."""

    count = 0

    def update(self, outputs, targets) -> None:
        self.count += len(targets)

    def compute(self) -> int:
        return self.count


def scored(folder: Path) -> dict:
    found: dict = {}
    loss = bp.supervised(nn.BCEWithLogitsLoss())

    def of(logits, targets, metrics):
        loader = Batches(logits, targets.double(), batch_size=2)
        return bp.evaluate(nn.Identity(), loader, loss, metrics=metrics).scores

    with distributed_group("cpu"):
        for count in (SAMPLES, 2):
            metrics = {"f1": F1(binary=True), "auroc": AUROC(binary=True)}
            scores = of(*answers(count), metrics)
            found[f"scores {count}"] = [float(score) for score in scores.values()]
        try:
            said = str(float(of(*answers(SAMPLES), {"own": Own()})["own"]))
        except bp.SettingError as error:
            said = str(error)
    return found | {"without merge_state": said}


def trained(folder: Path) -> dict:
    found = {}
    with distributed_group("cpu"):
        for wrapper in rank_cases.WRAPPERS:
            for resumed in (False, True):
                run = folder / f"{wrapper} {resumed}"
                for epochs in (1, 3) if resumed else (3,):
                    model = model_of(wrapper)
                    trainer = bp.Trainer(
                        model,
                        LOSS,
                        torch.optim.AdamW(model.parameters(), 0.01),
                        accumulate=2,
                        max_grad_norm=0.5,
                        device="cpu",
                        run_dir=run,
                        progress=False,
                        seed=0,
                    )
                    train = batches(shuffle=True, size=2)
                    trainer.fit(train, batches(), max_epochs=epochs, resume=resumed or None)
                found[run.name] = flat(model)
    return found


def predicted(folder: Path) -> dict:
    """Return the outputs of ranks with unequal numbers of samples, or none."""
    found: dict = {}
    with distributed_group("cpu"):
        for wrapper in rank_cases.WRAPPERS:
            for count in (SAMPLES, 2):
                trainer = bp.Trainer(
                    (model := model_of(wrapper)),
                    LOSS,
                    torch.optim.SGD(model.parameters(), 0.1),
                    device="cpu",
                    progress=False,
                )
                found[f"{wrapper} {count}"] = trainer.predict(batches(count, size=3))
        uneven = [(torch.zeros(1 + 3 * rank(), 3, dtype=torch.float64), None)]
        try:
            predict(model_of("bare"), uneven)
        except bp.ShapeError as error:
            found["uneven"] = str(error)
    return found


class OneAsks(Callback):
    """Asks on rank 1 alone to stop."""

    def on_step(self, position, result) -> str | None:
        return "rank 1 had enough" if rank() == 1 and position.step >= 2 else None


def stopped(folder: Path) -> dict:
    """Return where runs stop that one rank or the clock ends, and one with validations within."""
    found: dict = {}

    def fitted(options: dict, **ends):
        model = model_of("bare")
        optimizer = torch.optim.AdamW(model.parameters(), 0.01)
        trainer = bp.Trainer(
            model, LOSS, optimizer, device="cpu", progress=False, seed=0, **options
        )
        return trainer.fit(batches(shuffle=True, size=2), batches(), **ends)

    with distributed_group("cpu"):
        for name, options, ends in (
            ("one asks", {"callbacks": [OneAsks()]}, {"max_epochs": 1000}),
            ("the clock", {}, {"max_time": 0.5}),
        ):
            history = fitted(options, **ends)
            found[name] = [history.stopped, history.records[-1].step]
        options = {"run_dir": folder / "run", "validate_every_steps": 3, "keep_best": 1}
        for steps in (4, 9):
            history = fitted(options, max_steps=steps, resume=True)
        found["validated"] = [record.step for record in history.epochs("val_loss")]
        found["kept"] = RunFolder(folder / "run").kept()
    return found


def repeating(folder: Path) -> dict:
    """Return what a fit is refused with whose loaders repeat samples to make ranks even."""
    found: dict = {}
    data = TensorDataset(*samples())
    with distributed_group("cpu"):
        repeats = DataLoader(data, batch_size=4, sampler=DistributedSampler(data))
        even = SimpleNamespace(even_batches=True, num_processes=2, batch_size=4)
        prepared = DataLoader(data, batch_size=4)
        vars(prepared)["batch_sampler"] = even
        for name, train, val in (
            ("validation", batches(), {"b": repeats}),
            ("one of several", batches(), {"a": batches(), "b": repeats}),
            ("training", prepared, {"b": batches()}),
        ):
            model = model_of("bare")
            optimizer = torch.optim.SGD(model.parameters(), 0.01)
            trainer = bp.Trainer(
                model, LOSS, optimizer, device="cpu", progress=False, monitor="val_b_loss"
            )
            try:
                trainer.fit(train, val, max_epochs=1)
            except bp.SettingError as error:
                found[name] = str(error)
    return found


def saved(folder: Path, where: str) -> dict:
    return _stepped(Path(where), load=False)


def loaded(folder: Path, where: str) -> dict:
    return _stepped(Path(where), load=True)


def _stepped(where: Path, *, load: bool) -> dict:
    found = {}
    with distributed_group("cpu"):
        for wrapper in ("ddp", "fsdp"):
            model = model_of(wrapper)
            optimizer = torch.optim.AdamW(model.parameters(), 0.01)
            if load:
                with torch.no_grad():
                    for parameter in model.parameters():
                        parameter.zero_()
                load_sharded(where / wrapper, model, optimizer)
                found[f"{wrapper} at once"] = flat(model)
            else:
                save_sharded(where / f"{wrapper} early", model, optimizer)
                found[f"{wrapper} early"] = len(optimizer.state)
            step = bp.Step(model, optimizer)
            for window in bp.windows(batches(), 2):
                step(window, LOSS)
            found[wrapper] = flat(model)
            if not load:
                save_sharded(where / wrapper, model, optimizer)
                for window in bp.windows(batches(), 2):
                    step(window, LOSS)
                found[f"{wrapper} after"] = flat(model)
    return found
