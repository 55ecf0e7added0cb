"""The weights that are evaluated, where they are not those in training.

An exponential moving average beside the model, or what an optimiser keeps for evaluation itself.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from batchproof._errors import SettingError
from batchproof.ranks import is_sharded, local, unwrapped

# as torch.optim.swa_utils.AveragedModel calls them
_COUNT, _PREFIX = "n_averaged", "module."


class Average:
    """The weights to evaluate; by default the model's own, for which nothing is to be done."""

    def begin(self) -> None:
        """Prepare for training."""

    def update(self) -> None:
        """Take the weights after an optimiser step into account."""

    def restart(self) -> None:
        """Prepare for weights that are loaded into the model, which are then evaluated."""

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the model the weights to evaluate in the body, and those in training afterwards."""
        yield

    def weights(self) -> dict[str, Tensor]:
        """Return the weights that are other than the model's, by the names of its state."""
        return {}

    def state_dict(self) -> dict[str, Tensor] | None:
        """Return the state for a checkpoint, or None."""
        return None

    def load_state_dict(self, state: Mapping[str, Tensor] | None) -> None:
        """Load the state of a checkpoint."""


class MovingAverage(Average):
    """average <- decay * average + (1 - decay) * weights, after every optimiser step.

    The first step copies the weights. Buffers (running statistics) are the model's own. Of a model
    in shards each rank averages its own.

    Args:
        model: whose weights are averaged.
        decay: between 0 and 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model = model
        self._decay = decay
        self._count = 0
        inner = unwrapped(model)
        parameters = list(inner.named_parameters(remove_duplicate=False))
        self._parameters = {name: p for name, p in parameters if p.is_floating_point()}
        # tied weights have one average
        copies = {p: p.detach().clone() for p in self._parameters.values()}
        self._averages = {name: copies[p] for name, p in self._parameters.items()}
        self._pairs = [(local(average), p) for p, average in copies.items()]

    @torch.no_grad()
    def update(self) -> None:
        """Add the model's weights to the average."""
        averages = [average for average, _ in self._pairs]
        weights = [local(p) for _, p in self._pairs]
        if self._count:
            torch._foreach_lerp_(averages, weights, 1 - self._decay)
        else:
            torch._foreach_copy_(averages, weights)
        self._count += 1

    def restart(self) -> None:
        """Start again with the weights after the next step; until then use the model's own."""
        self._count = 0

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the model the averaged weights in the body, and its own afterwards."""
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
            copy = weight.clone()
            weight.copy_(average)
            average.copy_(copy)

    def _reshard(self) -> None:
        # what a forward pass has gathered would outlive the exchange
        for module in self._model.modules():
            if is_sharded(module):
                shard: Any = module
                shard.reshard()

    def weights(self) -> dict[str, Tensor]:
        """Return the average by the names of the model's state."""
        return dict(self._averages) if self._count else {}

    def state_dict(self) -> dict[str, Tensor] | None:
        """Return the average and how many steps are in it, for a checkpoint."""
        averages = {_PREFIX + name: average for name, average in self._averages.items()}
        return {_COUNT: torch.tensor(self._count), **averages}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor] | None) -> None:
        """Load the average of a checkpoint."""
        if state is None:
            return
        for name, average in self._averages.items():
            average.copy_(state[_PREFIX + name])
        self._count = int(state[_COUNT])


class OwnAverage(Average):
    """The weights that an optimiser has for evaluation itself, as a schedule-free one does.

    Its eval() puts those weights in the place of the ones in training, and its train() undoes that.
    """

    def __init__(self, model: nn.Module, optimizer: Any) -> None:
        self._model, self._optimizer = model, optimizer
        self._evaluates = False

    def begin(self) -> None:
        """Have the optimiser train."""
        self._switch(evaluate=False)

    def restart(self) -> None:
        """Have the optimiser evaluate the weights that the model is given next."""
        self._switch(evaluate=True)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the model the weights to evaluate in the body, and those in training afterwards."""
        if self._evaluating:
            yield
            return
        weights = {p: p.detach().clone() for p in self._model.parameters()}
        self._switch(evaluate=True)
        try:
            yield
        finally:
            self._switch(evaluate=False)
            # there and back is rounded
            with torch.no_grad():
                for parameter, weight in weights.items():
                    parameter.copy_(weight)

    @property
    def _evaluating(self) -> bool:
        mode = self._optimizer.param_groups[0].get("train_mode")
        return self._evaluates if mode is None else not mode

    def _switch(self, *, evaluate: bool) -> None:
        self._optimizer.eval() if evaluate else self._optimizer.train()
        self._evaluates = evaluate

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the weights to evaluate by the names of the model's state."""
        parameters = unwrapped(self._model).named_parameters(remove_duplicate=False)
        with self.in_place():
            return {name: parameter.detach().clone() for name, parameter in parameters}


def average_of(model: nn.Module, optimizer: Any, decay: float | None) -> Average:
    """Return the source of the weights that are evaluated.

    Args:
        model: that is trained.
        optimizer: that trains it.
        decay: of a moving average, or None.

    Raises:
        SettingError: if a moving average is asked for beside an optimiser that has its own.
    """
    own = all(callable(getattr(optimizer, name, None)) for name in ("eval", "train"))
    if not own or not isinstance(optimizer, Optimizer):
        return Average() if decay is None else MovingAverage(model, decay)
    if decay is not None:
        raise SettingError(
            f"ema is {decay} beside {type(optimizer).__name__}, which averages the weights itself; "
            "leave ema out."
        )
    return OwnAverage(model, optimizer)
