"""A loader's batches on the model's device, epoch by epoch, from any position within an epoch.

A loader may restore its position itself, by the protocol set_epoch(epoch) and batches_from(start),
which draws nothing that was done. For any other the random generators are restored to those that
the epoch was begun with, and what was done is drawn again: the global generators, and every one
that the loader, its samplers and its data set hold.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from textwrap import shorten
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from batchproof._errors import CheckpointError, DataError, SettingError, kind_of
from batchproof._random import capture, generators_in, restore, restore_states, states_of
from batchproof._trees import digest, in_own_containers, to_device
from batchproof.data import DatasetWindows, Pack, Window
from batchproof.data._checks import expect_iterable
from batchproof.ranks import in_a_group
from batchproof.step import windows

# the batches of an epoch that are drawn twice before a run, to see whether it can be, and those of
# which the indices are: reading batches takes long, drawing indices does not
_BATCHES, _INDICES = 1, 1024


class Epochs:
    """Draws a loader's batches by epoch.

    Args:
        loader: any iterable of batches.
        limit: batches per epoch at most, or None for all.

    Raises:
        SettingError: if the loader cannot be iterated.
    """

    def __init__(self, loader: Iterable[Any], *, limit: int | None = None) -> None:
        expect_iterable("the loader", loader)
        self.loader = loader
        self._limit = limit
        self._began: Mapping[str, Any] = {}
        # the first two are all that older checkpoints hold
        first = (loader, getattr(loader, "sampler", None))
        self._generators = generators_in(
            *(getattr(part, "generator", None) for part in first), loader
        )

    @property
    def batches(self) -> int | None:
        """The number of batches of an epoch, or None where the loader does not say."""
        try:
            size = len(self.loader)  # type: ignore[arg-type]
        except TypeError:
            return None
        return size if self._limit is None else min(size, self._limit)

    @property
    def gives_windows(self) -> bool:
        """Whether the loader gives windows, not batches."""
        return isinstance(self.loader, DatasetWindows)

    @property
    def renews_workers(self) -> bool:
        """Whether the loader's workers would outlive an epoch, and are started again."""
        return isinstance(self.loader, DataLoader) and self.loader.persistent_workers

    def begin(self, epoch: int) -> Iterator[Any]:
        """Return the batches of an epoch, counted from 0."""
        _set_epoch(self.loader, epoch)
        self._began = self.generators()
        return islice(self._drawn(), self._limit)

    def resume(self, epoch: int, start: int, began: Mapping[str, Any]) -> Iterator[Any]:
        """Return the batches of an epoch from the one numbered start on.

        The generators are left as they were, so what is drawn next is what would have been.

        Args:
            epoch: counted from 0.
            start: batches that are done.
            began: what state_dict returned after the epoch was begun.

        Raises:
            CheckpointError: if the loader gives fewer batches than were done.
        """
        _set_epoch(self.loader, epoch)
        self._began = dict(began)
        rest = None if self._limit is None else max(self._limit - start, 0)
        if hasattr(self.loader, "batches_from"):
            return islice(self.loader.batches_from(start), rest)
        now = self.generators()
        self._restore(began)
        batches = self._drawn()
        count = sum(1 for _ in islice(batches, start))
        self._restore(now)
        if count < start and not in_a_group():
            raise CheckpointError(
                f"the checkpoint was made after batch {start} of its epoch but the loader gives "
                f"{count}; resume with the data and batch size it was made with."
            )
        return islice(batches, rest)

    def state_dict(self) -> Mapping[str, Any]:
        """Return the generators that the present epoch was begun with."""
        return self._began

    def generators(self) -> dict[str, Any]:
        """Return the states of all generators that decide what is drawn."""
        return {"random": capture(), "own": self.own_states()}

    def own_states(self) -> list[Any]:
        """Return the states of the generators that the loader holds."""
        return states_of(self._generators)

    def restore(self, states: Sequence[Any]) -> None:
        """Restore the generators that the loader holds."""
        restore_states(self._generators, states)

    def fingerprint(self, began: Mapping[str, Any] | None = None) -> str:
        """Return a digest of the first epoch's first batch, leaving every generator as it was.

        Args:
            began: the generators that the first epoch was begun with; None for those of now.

        Raises:
            DataError: if the loader gives no batch.
        """
        first = self._digests(self._drawn, 1, began)
        if not first:
            raise DataError("the training loader gave no batch; expected one or more.")
        return first[0]

    def expect_repeatable(self, purpose: str) -> None:
        """Refuse a loader that cannot be drawn again from where an epoch began.

        Args:
            purpose: "training" or "validation", for the error.

        Raises:
            SettingError: if it begins only once, or draws other batches from the same generators.
        """
        if hasattr(self.loader, "batches_from") or isinstance(self.loader, list | tuple):
            return
        if isinstance(self.loader, Iterator):
            raise SettingError(
                f"the {purpose} data are {kind_of(self.loader)}, which begins only once, "
                f"so the run could not be resumed exactly. {_REPEATABLE}"
            )
        ways: list[tuple[Any, int]] = []
        if isinstance(self.loader, DataLoader):
            ways.append((partial(_indices, self.loader), _INDICES))
        # what workers draw is theirs alone, and to start them takes long
        if not ways or self.loader.num_workers == 0:  # type: ignore[attr-defined]
            ways.append((self._drawn, _BATCHES))
        if not all(self._digests(*way) == self._digests(*way) for way in ways):
            raise SettingError(
                f"the {purpose} loader draws other batches when the random generators that it "
                f"holds are restored, so the run could not be resumed exactly. {_REPEATABLE}"
            )

    def _digests(
        self,
        draw: Callable[[], Iterator[Any]],
        most: int,
        began: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Return the digests of the first of an epoch, leaving every generator as it was."""
        if self._limit is not None:
            most = min(most, self._limit)
        now = self.generators()
        if began is not None:
            self._restore(began)
        _set_epoch(self.loader, 0)
        try:
            return [digest(part) for part in islice(draw(), most)]
        finally:
            self._restore(now)

    def _drawn(self) -> Iterator[Any]:
        if self.renews_workers:
            # workers that persist hold generators that no checkpoint does
            self.loader._iterator = None  # type: ignore[attr-defined]  # noqa: SLF001
        if isinstance(self.loader, list | tuple):
            # gives the same objects every epoch, and a loss may take its batch apart
            return map(in_own_containers, self.loader)
        return iter(self.loader)

    def _restore(self, generators: Mapping[str, Any]) -> None:
        restore(generators["random"])
        self.restore(generators["own"])


class Generators:
    """The random generators of a rank: global ones, and those that data sets and other parts hold.

    Args:
        train: the training data.
        vals: the validation data by name.
        *parts: what else may hold generators, in the same order when the run is resumed.
    """

    def __init__(self, train: Epochs, vals: Mapping[str, Epochs], *parts: Any) -> None:
        self._train, self._vals = train, vals
        self._own = generators_in(*parts)

    def states(self) -> dict[str, Any]:
        """Return copies of the states of all, for a checkpoint."""
        return {
            "random": capture(),
            "own": self._train.own_states(),
            "own of validations": {name: val.own_states() for name, val in self._vals.items()},
            "own of loss": states_of(self._own),
        }

    def restore(self, states: Mapping[str, Any]) -> None:
        """Restore all to their states."""
        restore(states["random"])
        self._train.restore(states["own"])
        # an older checkpoint has those of one validation, or none
        older = {"": states.get("own of validation", [])}
        own = states.get("own of validations", older)
        for name, val in self._vals.items():
            val.restore(own.get(name, []))
        restore_states(self._own, states.get("own of loss", []))


def _indices(loader: Any) -> Iterator[Any]:
    return iter(loader.batch_sampler if loader.batch_sampler is not None else loader.sampler)


def _set_epoch(loader: Any, epoch: int) -> None:
    """Notify a loader of the epoch, or those of its parts that count epochs."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    inner: list[Any] = [getattr(loader, "sampler", None), batch_sampler]
    inner += [getattr(batch_sampler, "sampler", None), getattr(loader, "dataset", None)]
    parts = [loader] if hasattr(loader, "set_epoch") else inner
    for part in {id(part): part for part in parts if hasattr(part, "set_epoch")}.values():
        part.set_epoch(epoch)


_REPEATABLE = (
    "Pass an iterable that restarts each epoch and draws from generators in its attributes, "
    "such as a list or a DataLoader; or leave run_dir out."
)


def find_device(device: str | torch.device) -> torch.device:
    """Return the device that is meant; "auto" is the machine's accelerator, else the CPU.

    Raises:
        SettingError: if there is no such device.
    """
    if device == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if accelerator is None else accelerator
    try:
        result = torch.device(device)
        torch.empty(0, device=result)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = shorten(str(error).splitlines()[0], width=80, placeholder=" ...")
        raise SettingError(
            f"device is {device if device is None else str(device)!r}, which this machine does not "
            f'offer ({reason}); choose "auto" or "cpu".'
        ) from None
    return result


def device_of(model: Any) -> torch.device:
    """Return the device of a model's parameters; the CPU where it has none."""
    tensors = model.parameters() if isinstance(model, nn.Module) else ()
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def windows_from(
    epochs: Epochs,
    batches: Iterator[Any],
    accumulate: int,
    *,
    tokens: int | None = None,
    pack: Pack = False,
    group: Any = None,
    start: int = 0,
) -> Iterator[list[Any]]:
    """Return the windows of an epoch.

    Args:
        epochs: what the batches are drawn from.
        batches: the rest of the epoch: its windows, where the loader gives windows.
        accumulate: batches of a window.
        tokens: the budget that windows are recut under, or None.
        pack: whether a micro-batch is put in one row.
        group: the ranks that take steps together.
        start: how many of the epoch's batches are done.
    """
    if epochs.gives_windows:
        return batches
    rest: Any = batches
    if epochs.batches is not None and in_a_group(group):
        rest = Sized(batches, max(epochs.batches - start, 0))
    return iter(windows(rest, accumulate, tokens=tokens, pack=pack, group=group))


class Sized:
    """Batches that are drawn once, with their number."""

    def __init__(self, batches: Iterable[Any], size: int) -> None:
        self._batches, self._size = batches, size

    def __iter__(self) -> Iterator[Any]:
        return iter(self._batches)

    def __len__(self) -> int:
        return self._size


def placed(loader: Iterable[Any], device: torch.device) -> Iterable[Any]:
    """Return the loader's batches on a device; on the CPU they are left as they come.

    A window of batches keeps what it knows of them.
    """
    return loader if device.type == "cpu" else (_moved(batch, device) for batch in loader)


def _moved(batch: Any, device: torch.device) -> Any:
    copy = to_device(batch, device)
    return batch.like(copy) if isinstance(batch, Window) else copy
