"""FSDP2: parameters are gathered for every pass, gradients reduced to shards in the last."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from batchproof.data import Window
from batchproof.mean import Pairs
from batchproof.ranks import Group, is_sharded, reshard
from batchproof.step._ranks._wrappers import Rerun
from batchproof.step._ranks._zero_forward import probing, with_forwards
from batchproof.step._snapshot import leaving_no_trace


class Sharded:
    """FSDP2: parameters are gathered for every pass, gradients reduced to shards in the last.

    Every rank has to make the same passes. One with fewer micro-batches runs a micro-batch that
    it had before, or was given, once more, and back-propagates 0.
    """

    name = "fully_shard"
    sharded = True

    def __init__(self, group: Group, model: Any) -> None:
        self.group = group
        self.model = model
        self._spare: Any = None
        self._has_spare = False
        self._all_have_spares = False
        self._synchronises = True
        self._shares = 0

    def inner(self, model: Any) -> Any:
        """Return the model as it is, whose parameters are gathered for every pass."""
        return model

    def padding(self, missing: int) -> Sequence[Any]:
        """Return the spare micro-batch as often as it is needed."""
        return [self._spare] * missing

    def shares(self) -> int:
        """Return the number of ranks that hold each shard."""
        if self._shares:
            return self._shares
        parameter: Any = self.reduced()[0]
        layout: Any = zip(parameter.device_mesh.shape, parameter.placements, strict=True)
        whole = [size for size, placement in layout if not placement.is_shard()]
        self._shares = int(math.prod(whole))
        return self._shares

    def reduced(self) -> list[Tensor]:
        """Return the model's parameters, as this rank's shards."""
        reshard(self.model)
        return [p for p in self.model.parameters() if p.requires_grad]

    def begin(self) -> None:
        """Have every parameter in its shards."""
        reshard(self.model)

    def share_buffers(self) -> None:
        """Do nothing: passes gather parameters, and share no buffers."""

    def end(self) -> None:
        """Have passes reduce again."""
        self.synchronise(on=True)

    def rounds(self, batches: Sequence[Any]) -> int:
        """Return the number of micro-batches on the rank with the most.

        A window of `batchproof.windows` over a loader with a length knows it; else ranks ask
        each other, which waits for the device.
        """
        if batches and not self._has_spare:
            self._spare, self._has_spare = batches[0], True
        if isinstance(batches, Window) and batches.longest is not None and self._all_have_spares:
            return int(batches.longest)
        answers = self.group.gather((len(batches), self._has_spare))
        longest = max(length for length, _ in answers)
        owners = [rank for rank, (_, has) in enumerate(answers) if has]
        if longest and len(owners) < self.group.size:
            spare = self.group.share(self._spare, source=owners[0])
            if not self._has_spare:
                self._spare, self._has_spare = _moved(spare, self.group.device), True
        self._all_have_spares = bool(owners)
        return int(longest)

    def synchronise(self, *, on: bool) -> None:
        """Have the next backward pass reduce gradients, or keep them whole."""
        if on != self._synchronises:
            self.model.set_requires_gradient_sync(on)
            self._synchronises = on

    def rerun(self, loss: Callable[[Any, Any], Any]) -> Rerun:
        """Return a pass over the spare micro-batch, which leaves no trace."""
        rerun = Rerun(0.0)
        rerun.enter_context(leaving_no_trace(self.model))
        terms = Pairs.of(loss(self.model, self._spare)).terms
        rerun.roots = [mean.total for mean in terms.values() if mean.total.requires_grad]
        return rerun

    def probe(self, seed: float) -> Tensor:
        """Back-propagate seed to one element, and return its gradient in this rank's shards."""
        seeds = [seed]
        modules = [m for m in self.model.modules() if is_sharded(m)]
        forwards = [_tree_of_zeros(module, seeds) for module in modules]
        with with_forwards(modules, forwards), torch.enable_grad():
            (total,) = self.model(torch.zeros((), dtype=torch.float64))
            total.backward()
        value = torch.zeros((), dtype=torch.float64)
        for parameter in self.reduced():
            if parameter.grad is not None:
                value += parameter.grad.to_local().detach().double().sum().cpu()  # type: ignore[attr-defined]
            parameter.grad = None
        return value / self.shares()

    def reduce(self) -> None:
        """Do nothing: the backward pass has."""


def _tree_of_zeros(module: nn.Module, seeds: list[float]) -> Callable[..., list[Tensor]]:
    """Return a forward that touches a sharded module's own parameters, then those inside it.

    A module whose parameters are all frozen returns its input unchanged.
    """
    own, inside = _own(module)

    def forward(total: Tensor) -> list[Tensor]:
        parameters = [p for part in own for p in part.parameters(recurse=False) if p.requires_grad]
        for parameter in parameters:
            total = total + parameter.flatten()[:0].sum()
        if parameters and seeds:
            total = total + probing(parameters) * seeds.pop()
        for child in inside:
            (total,) = child(total)
        return [total]

    return forward


def _own(module: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return the modules whose parameters a sharded module manages, and those sharded inside."""
    own: list[nn.Module] = [module]
    inside: list[nn.Module] = []
    for child in module.children():
        if is_sharded(child):
            inside.append(child)
        else:
            deeper, sharded = _own(child)
            own += deeper
            inside += sharded
    return own, inside


def _moved(batch: Any, device: torch.device) -> Any:
    def move(leaf: Any) -> Any:
        return leaf.to(device) if isinstance(leaf, Tensor) and leaf.is_cuda else leaf

    return _pytree.tree_map(move, batch)
