"""An exponential moving average of the weights, beside the model and at times in its place."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from batchproof._errors import SettingError
from batchproof.ranks import is_sharded, local, unwrapped

# as torch.optim.swa_utils.AveragedModel calls them
_COUNT, _PREFIX = "n_averaged", "module."


class NoAverage:
    """The model's own weights."""

    kept = False

    def update(self) -> None:
        """Do nothing."""

    def restart(self) -> None:
        """Do nothing."""

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Leave the model as it is."""
        yield

    def weights(self) -> dict[str, Tensor]:
        """Return nothing that is other than the model's."""
        return {}

    def state_dict(self) -> dict[str, Tensor] | None:
        """Return nothing."""
        return None

    def load_state_dict(self, state: Mapping[str, Tensor] | None) -> None:
        """Take nothing."""


class MovingAverage:
    """average <- decay * average + (1 - decay) * weights, after every optimiser step.

    The first step copies the weights. Buffers (running statistics) are the model's own. Of a model
    in shards each rank averages its own.

    Raises:
        SettingError: if the decay is not between 0 and 1, or the model is no torch.nn.Module.
    """

    kept = True

    def __init__(self, model: Any, decay: float) -> None:
        if not 0 < decay < 1:
            raise SettingError(f"ema is {decay}; expected a decay between 0 and 1, such as 0.999.")
        if not isinstance(model, nn.Module):
            raise SettingError(
                f"ema needs a torch.nn.Module, not {type(model).__name__}; leave ema out."
            )
        self._model = model
        self._decay = decay
        self._count = 0
        inner = unwrapped(model)
        named = list(inner.named_parameters(remove_duplicate=False))
        self._parameters = {name: p for name, p in named if p.is_floating_point()}
        # tied weights have one average
        copies = {p: p.detach().clone() for p in self._parameters.values()}
        self._averages = {name: copies[p] for name, p in self._parameters.items()}
        self._pairs = [(local(average), p) for p, average in copies.items()]

    @torch.no_grad()
    def update(self) -> None:
        """Take the model's weights into the average."""
        averages = [average for average, _ in self._pairs]
        weights = [local(p) for _, p in self._pairs]
        if self._count:
            torch._foreach_lerp_(averages, weights, 1 - self._decay)
        else:
            torch._foreach_copy_(averages, weights)
        self._count += 1

    def restart(self) -> None:
        """Begin anew with the weights after the next step; until then it is the model's own."""
        self._count = 0

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the average in the place of the model's weights, and these back afterwards."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        if not self._count:
            return
        self._reshard()
        for average, parameter in self._pairs:
            weight = local(parameter)
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)

    def _reshard(self) -> None:
        # what a forward pass has gathered would outlive the exchange
        for module in self._model.modules():
            if is_sharded(module):
                sharded: Any = module
                sharded.reshard()

    def weights(self) -> dict[str, Tensor]:
        """Return the average by the names of the model's state."""
        return dict(self._averages) if self._count else {}

    def state_dict(self) -> dict[str, Tensor] | None:
        """Return the average and how many steps are in it, for a checkpoint."""
        averages = {_PREFIX + name: average for name, average in self._averages.items()}
        return {_COUNT: torch.tensor(self._count), **averages}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor] | None) -> None:
        """Take the average of a checkpoint."""
        if state is None:
            return
        for name, average in self._averages.items():
            average.copy_(state[_PREFIX + name])
        self._count = int(state[_COUNT])


def average_of(model: Any, decay: float | None) -> NoAverage | MovingAverage:
    """Return the moving average with a decay, or the model's own weights where it is None."""
    return NoAverage() if decay is None else MovingAverage(model, decay)
