"""Runs whose data draw from generators of their own are resumed exactly, or refused at once."""

import functools
import itertools
import os
import random
import signal

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
)

import batchproof as bp
from batchproof._random import generators_in, restore_states, states_of
from batchproof.train import RunFolder
from small_runs import batches, classifier, criterion, samples, trainer

RNG = np.random.default_rng(0)
X, Y = samples(24)


class Plain(Dataset):
    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return X[index], Y[index]


class Noisy(Plain):
    """Draws from a generator that it holds in a list in an attribute."""

    def __init__(self, generator):
        self.held = {"noise": [generator]}

    def __getitem__(self, index):
        (generator,) = self.held["noise"]
        draw = generator.random if hasattr(generator, "random") else generator.random_sample
        return X[index] + float(draw()), Y[index]


class Order:
    """A sampler with a generator of another name."""

    def __init__(self):
        self.shuffling = random.Random(5)

    def __len__(self):
        return len(X)

    def __iter__(self):
        return iter(self.shuffling.sample(range(len(X)), len(X)))


class Stream(IterableDataset):
    __slots__ = ("rng",)

    def __init__(self):
        super().__init__()
        self.rng = torch.Generator().manual_seed(2)

    def __iter__(self):
        for index in torch.randperm(len(X), generator=self.rng).tolist():
            yield X[index], Y[index]


class Iterable:
    """Batches of an own kind."""

    def __init__(self):
        self.noise = np.random.RandomState(3)

    def __iter__(self):
        for first in range(0, 24, 8):
            noise = float(self.noise.rand())
            yield X[first : first + 8] + noise, Y[first : first + 8]


def by_global(items):
    x, y = torch.utils.data.default_collate(items)
    return x + RNG.random(), y


def by_closure():
    rng = np.random.Generator(np.random.Philox(4))
    method = rng.standard_normal

    def collate(items):
        x, y = torch.utils.data.default_collate(items)
        return x + float(method()), y

    return functools.partial(collate)


def generator(seed=6):
    return torch.Generator().manual_seed(seed)


LOADERS = {
    "a sampler within a batch sampler": lambda: DataLoader(
        Plain(), batch_sampler=BatchSampler(RandomSampler(X, generator=generator()), 8, False)
    ),
    "a sampler that draws in chunks": lambda: DataLoader(
        Plain(),
        batch_size=8,
        sampler=RandomSampler(X, replacement=True, num_samples=80, generator=generator()),
    ),
    "an own sampler": lambda: DataLoader(Plain(), batch_size=8, sampler=Order()),
    "a data set with numpy": lambda: DataLoader(Noisy(np.random.default_rng(1)), batch_size=8),
    "a data set with old numpy": lambda: DataLoader(Noisy(np.random.RandomState(1)), batch_size=8),
    "a data set with random": lambda: DataLoader(Noisy(random.Random(1)), batch_size=8),
    "a stream": lambda: DataLoader(Stream(), batch_size=8),
    "an own iterable": Iterable,
    "a collate function with a global": lambda: DataLoader(
        Plain(), batch_size=8, collate_fn=by_global
    ),
    "a collate function that closes over one": lambda: DataLoader(
        Plain(), batch_size=8, collate_fn=by_closure()
    ),
}


def in_a_new_process():
    """What is global is as it was when the process began."""
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


class Stop(Exception):
    pass


class StopAt(bp.train.Callback):
    def __init__(self, step):
        self.step = step

    def on_step(self, position, result):
        if position.step == self.step:
            raise Stop


@pytest.mark.parametrize("stop", [3, 5], ids=["between epochs", "within one"])
@pytest.mark.parametrize("loader", LOADERS.values(), ids=LOADERS.keys())
def test_generators_that_data_hold_are_restored(tmp_path, loader, stop):
    def fit(run_dir, stop_at, **options):
        in_a_new_process()
        trainer(
            classifier(), run_dir=run_dir, seed=1, checkpoint_every_steps=1, callbacks=[stop_at]
        ).fit(loader(), loader(), max_epochs=3, **options)

    fit(tmp_path / "whole", StopAt(None))
    with pytest.raises(bp.SettingError, match="callback StopAt raised"):
        fit(tmp_path / "cut", StopAt(stop))
    fit(tmp_path / "cut", StopAt(None), resume=True)
    logs = [(tmp_path / run / "metrics.jsonl").read_bytes() for run in ("whole", "cut")]
    assert logs[0] == logs[1]


class Drawing(Plain):
    def __getitem__(self, index):
        return X[index] + torch.randn(()), Y[index]


def test_persistent_workers_restart_so_that_a_run_is_resumed_exactly(tmp_path):
    def fit(run_dir, epochs, **options):
        loader = DataLoader(Drawing(), batch_size=8, num_workers=1, persistent_workers=True)
        trainer(classifier(), run_dir=run_dir, seed=1).fit(loader, max_epochs=epochs, **options)

    fit(tmp_path / "whole", 3)
    fit(tmp_path / "cut", 2)
    fit(tmp_path / "cut", 3, resume=True)
    logs = [(tmp_path / run / "metrics.jsonl").read_bytes() for run in ("whole", "cut")]
    assert logs[0] == logs[1]


def test_a_generator_of_the_loss_is_restored(tmp_path):
    class Blurred:
        def __init__(self):
            self.rng = generator()

        def __call__(self, model, batch):
            x, y = batch
            return criterion()(model, (x + torch.randn(x.shape, generator=self.rng), y))

    def fit(run_dir, epochs, **options):
        trainer(classifier(), loss=Blurred(), run_dir=run_dir).fit(
            batches(16), max_epochs=epochs, **options
        )

    fit(tmp_path / "whole", 3)
    fit(tmp_path / "cut", 1)
    fit(tmp_path / "cut", 3, resume=True)
    assert RunFolder(tmp_path / "whole").records() == RunFolder(tmp_path / "cut").records()


class Counting:
    """Shuffles by a count of its own, which a resumed run begins again."""

    def __init__(self):
        self.epoch = 0

    def __iter__(self):
        self.epoch += 1
        x, y = samples(16, seed=self.epoch)
        yield from [(x[:8], y[:8]), (x[8:], y[8:])]


class FromTheSystem(Plain):
    def __getitem__(self, index):
        return X[index] + int.from_bytes(os.urandom(2)), Y[index]


@pytest.mark.parametrize(
    "loader", [Counting, lambda: DataLoader(FromTheSystem(), batch_size=8)], ids=["count", "system"]
)
def test_a_loader_that_draws_otherwise_each_time_is_refused_when_the_run_begins(tmp_path, loader):
    with pytest.raises(bp.SettingError, match=r"draws other batches .* could not be resumed"):
        trainer(run_dir=tmp_path / "run").fit(loader(), max_epochs=1)
    assert not list(tmp_path.iterdir())
    trainer().fit(loader(), max_epochs=1)
    trainer().dry_run(loader())


@pytest.mark.parametrize(
    "loader", [Counting, lambda: DataLoader(FromTheSystem(), batch_size=8)], ids=["count", "system"]
)
def test_a_validation_loader_that_draws_otherwise_each_time_is_refused_as_well(tmp_path, loader):
    with pytest.raises(bp.SettingError, match="the validation loader draws other batches"):
        trainer(run_dir=tmp_path / "run").fit(batches(), loader(), max_epochs=1)
    assert not list(tmp_path.iterdir())
    trainer().fit(batches(), loader(), max_epochs=1)
    with pytest.raises(bp.SettingError, match=r"validation data are a .* begins only once"):
        trainer(run_dir=tmp_path / "run").fit(batches(), iter(batches(16)), max_epochs=1)


class LaterSampler(Sampler):
    """Draws the order of its last indices from the system."""

    def __iter__(self):
        yield from [*range(120), *sorted(range(120, 160), key=lambda _: os.urandom(4))]

    def __len__(self):
        return 160


class Long(Dataset):
    def __len__(self):
        return 160

    def __getitem__(self, index):
        return X[index % len(X)], Y[index % len(Y)]


@pytest.mark.parametrize(
    "loader",
    [
        lambda: DataLoader(Long(), batch_size=4, sampler=LaterSampler()),
        lambda: DataLoader(Long(), batch_size=4, sampler=LaterSampler(), num_workers=1),
        lambda: DataLoader(Long(), batch_sampler=BatchSampler(LaterSampler(), 4, drop_last=False)),
    ],
    ids=["sampler", "sampler with workers", "batch sampler"],
)
def test_a_sampler_that_draws_otherwise_after_its_first_batch_is_refused(tmp_path, loader):
    with pytest.raises(bp.SettingError, match=r"training loader draws other batches"):
        trainer(run_dir=tmp_path / "run").fit(loader(), max_epochs=1)
    with pytest.raises(bp.SettingError, match=r"validation loader draws other batches"):
        trainer(run_dir=tmp_path / "run").fit(batches(), loader(), max_epochs=1)
    assert not list(tmp_path.iterdir())


class Endless(Sampler):
    """Gives indices for ever."""

    def __iter__(self):
        return iter(torch.randint(16, (1,)).item, None)


def test_a_sampler_without_an_end_is_looked_at_up_to_a_limit(tmp_path):
    loader = DataLoader(Long(), batch_size=4, sampler=Endless())
    history = trainer(run_dir=tmp_path / "run").fit(loader, max_steps=3)
    assert len(history.records)
    assert RunFolder(tmp_path / "run").records()


class KilledInValidation(bp.train.Callback):
    """Sends a signal after the second batch of the first validation."""

    seen = 0

    def on_validation_batch(self):
        self.seen += 1
        if self.seen == 2:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_validation_that_was_interrupted_draws_again_what_it_had_drawn(tmp_path):
    def fit(name, **options):
        resume = options.pop("resume", None)
        rng, loss = random.Random(1), criterion()

        def noisy(model, batch):
            x, y = batch
            return loss(model, (x + rng.random(), y))

        val = DataLoader(Noisy(np.random.default_rng(3)), batch_size=4)
        run = trainer(run_dir=tmp_path / name, loss=noisy, seed=0, **options)
        return run.fit(batches(), val, max_epochs=2, resume=resume)

    whole = fit("whole")
    with pytest.raises(bp.RunInterruptedError):
        fit("cut", callbacks=[KilledInValidation()])
    assert fit("cut", resume=True).records == whole.records


class Langevin(torch.optim.SGD):
    """Adds noise from a generator of its own."""

    def __init__(self, parameters):
        super().__init__(parameters, lr=0.1)
        self.noise = torch.Generator().manual_seed(3)

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.grad.add_(torch.randn(p.shape, generator=self.noise), alpha=0.1)
        return super().step(closure)


def test_an_optimiser_that_draws_is_resumed_exactly(tmp_path):
    def fit(name, epochs, resume=None):
        model = classifier()
        run = trainer(model, optimizer=Langevin(model.parameters()), run_dir=tmp_path / name)
        return run.fit(batches(), max_epochs=epochs, resume=resume)

    fit("cut", 1)
    assert fit("cut", 2, resume=True).records == fit("whole", 2).records


def test_data_that_begin_only_once_are_refused_for_a_run_folder(tmp_path):
    with pytest.raises(bp.SettingError, match="which begins only once, so the run could not be"):
        trainer(run_dir=tmp_path / "run").fit(iter(batches(16)), max_epochs=1)
    trainer().fit(iter(batches(16)), max_epochs=1)


def test_the_look_at_whether_data_can_be_drawn_again_changes_no_draw(tmp_path):
    def fit(**options):
        return trainer(classifier(), seed=2, **options).fit(
            DataLoader(Noisy(random.Random(1)), batch_size=8, shuffle=True), max_epochs=2
        )

    assert fit(run_dir=tmp_path / "run").records == fit().records


def test_an_epoch_is_counted_by_a_sampler_within_a_batch_sampler():
    class ByEpoch(RandomSampler):
        epochs: list = []  # noqa: RUF012

        def set_epoch(self, epoch):
            self.epochs.append(epoch)

    loader = DataLoader(Plain(), batch_sampler=BatchSampler(ByEpoch(X), 8, drop_last=False))
    trainer().fit(loader, max_epochs=2)
    assert ByEpoch.epochs == [0, 1]


@pytest.mark.parametrize(
    "made",
    [
        lambda: np.random.Generator(np.random.PCG64DXSM(1)),
        lambda: np.random.Generator(np.random.MT19937(1)),
        lambda: np.random.Generator(np.random.SFC64(1)),
        lambda: np.random.Generator(np.random.Philox(1)),
        lambda: np.random.RandomState(1),
        lambda: random.Random(1),
        generator,
    ],
)
def test_a_state_is_saved_with_weights_only_and_restored(tmp_path, made):
    one = made()
    draw = getattr(one, "random", None) or getattr(one, "rand", None)
    draw = draw or (lambda: torch.rand((), generator=one).item())
    draw()
    torch.save(states_of([one]), tmp_path / "state.pt")
    ahead = [draw() for _ in range(5)]
    restore_states([one], torch.load(tmp_path / "state.pt", weights_only=True))
    assert [draw() for _ in range(5)] == ahead


def test_global_generators_are_not_objects_own():
    def draws():
        return random.random() + np.random.rand() + torch.rand(()) + random.shuffle([1])

    assert generators_in(draws, random.random, torch.default_generator) == []
    itself: list = []
    itself.append(itself)
    assert generators_in(itself, itertools.count()) == []
