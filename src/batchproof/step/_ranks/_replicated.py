"""DistributedDataParallel: gradients are averaged in buckets while the last backward runs."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from batchproof._errors import SettingError
from batchproof.ranks import Group
from batchproof.step._ranks._wrappers import Rerun
from batchproof.step._ranks._zero_forward import (
    dense,
    probing,
    sparse_weights,
    touching,
    with_forwards,
)

# states of hooks that keep a part of one window's gradients for the next, or stop to reduce
_CARRYING = ("PowerSGDState", "PostLocalSGDState")
# DDP's flag before a window; any pass through it replaces this by a flag of its own
_FRESH = 1


class Replicated:
    """DistributedDataParallel: gradients are averaged in buckets while the last backward runs."""

    name = "DistributedDataParallel"
    sharded = False

    def __init__(self, group: Group, model: DistributedDataParallel) -> None:
        if model.static_graph:
            raise SettingError(
                "the model is in DistributedDataParallel(static_graph=True), whose first step "
                "fixes what every later one does; a rank without data could not take part. "
                "Leave static_graph out."
            )
        self.group = group
        self.model = model
        self._quiet = ExitStack()

    def inner(self, model: Any) -> Any:
        """Return the wrapped module."""
        del model
        return self.model.module

    def padding(self, missing: int) -> Sequence[Any]:
        """Return nothing: the inner module is the one that runs uncounted."""
        del missing
        return ()

    def shares(self) -> int:
        """Return 1: gradients are whole."""
        return 1

    def reduced(self) -> list[Tensor]:
        """Return the wrapped module's parameters."""
        return [p for p in self.model.module.parameters() if p.requires_grad]

    def begin(self) -> None:
        """Have the first pass of this window broadcast the buffers, on every rank alike."""
        self.model.require_forward_param_sync = _FRESH  # type: ignore[assignment]

    def share_buffers(self) -> None:
        """Broadcast the buffers by a pass with nothing inside, so that later passes do not."""
        with with_forwards([self.model.module], [list]), torch.no_grad():
            self.model()

    def end(self) -> None:
        """Have passes reduce again."""
        self._quiet.close()
        if self.model.require_forward_param_sync is _FRESH:
            self.model.require_forward_param_sync = True

    def rounds(self, batches: Sequence[Any]) -> int:
        """Return the number of micro-batches, and at least one."""
        return max(1, len(batches))

    def synchronise(self, *, on: bool) -> None:
        """Enter or leave the wrapper's no_sync."""
        self._quiet.close()
        if not on:
            self._quiet.enter_context(self.model.no_sync())

    def rerun(self, loss: Callable[[Any, Any], Any]) -> Rerun:
        """Return a pass through the wrapper with no layer inside."""
        del loss
        rerun = Rerun(1.0)
        rerun.roots = self._zero_forward()
        return rerun

    def probe(self, seed: float) -> Tensor:
        """Back-propagate seed to one element through the reducer.

        Raises:
            SettingError: if a communication hook does more than reduce this window's gradients.
        """
        self._expect_no_memory()
        parameters = self.reduced()
        usable = dense(parameters, sparse_weights(self.model.module))
        if not usable:
            return torch.ones(()) / self.group.size
        self.begin()
        *zeros, probe = self._zero_forward([usable[0]])
        seeds = [*map(torch.ones_like, zeros), probe.new_tensor(seed)]
        torch.autograd.backward([*zeros, probe], seeds)
        self.end()
        grad = usable[0].grad
        assert grad is not None
        value = grad.flatten()[0].detach().double().cpu()
        for parameter in parameters:
            parameter.grad = None
        return value

    def reduce(self) -> None:
        """Do nothing: the backward pass has."""

    def _expect_no_memory(self) -> None:
        hooks: Any = getattr(self.model, "_comm_hooks", ())
        for hook, state in hooks:
            if type(state).__name__ in _CARRYING:
                raise SettingError(
                    f"the model has the communication hook {hook.__name__}, which carries "
                    "gradients from one window to the next, or keeps them on their rank; windows "
                    "of unequal weight would be mixed. Use bf16_compress_hook, or none."
                )

    def _zero_forward(self, probes: Sequence[Tensor] = ()) -> list[Tensor]:
        if self.model.require_forward_param_sync is not _FRESH:
            # a pass of this window has broadcast the buffers
            self.model.require_forward_param_sync = False
        inner = self.model.module

        parameters = self.reduced()
        if self.model.find_unused_parameters:
            # one that no rank has a gradient of keeps none
            parameters = [p for p in parameters if p.grad is not None] or parameters

        def forward() -> list[Tensor]:
            zeros = touching(inner, parameters)
            return [*zeros, probing(probes)] if probes else zeros

        with with_forwards([inner], [forward]), torch.enable_grad():
            roots: list[Tensor] = self.model()
        return roots
