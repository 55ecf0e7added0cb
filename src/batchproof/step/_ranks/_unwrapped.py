"""A model in no wrapper: gradients are summed here, in buckets, after the last backward."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn

from batchproof._errors import SettingError
from batchproof.ranks import Group
from batchproof.step._ranks._wrappers import Rerun
from batchproof.step._ranks._zero_forward import dense, probing, sparse_weights

BUCKET_BYTES = 25 << 20


class Unwrapped:
    """A model in no wrapper: gradients are summed here, in buckets, after the last backward."""

    name = "a bare model"
    sharded = False

    def __init__(self, group: Group, model: Any, parameters: Sequence[Tensor]) -> None:
        self.group = group
        self.parameters = [p for p in parameters if p.requires_grad]
        self._sparse = sparse_weights(model) if isinstance(model, nn.Module) else set()

    def inner(self, model: Any) -> Any:
        """Return the model as it is."""
        return model

    def padding(self, missing: int) -> Sequence[Any]:
        """Return nothing."""
        del missing
        return ()

    def shares(self) -> int:
        """Return 1: gradients are whole."""
        return 1

    def reduced(self) -> list[Tensor]:
        """Return the optimiser's own parameters."""
        return self.parameters

    def begin(self) -> None:
        """Do nothing."""

    def share_buffers(self) -> None:
        """Do nothing: passes make no collective."""

    def end(self) -> None:
        """Do nothing."""

    def rounds(self, batches: Sequence[Any]) -> int:
        """Return the number of micro-batches."""
        return len(batches)

    def synchronise(self, *, on: bool) -> None:
        """Do nothing."""

    def rerun(self, loss: Callable[[Any, Any], Any]) -> Rerun:
        """Return a pass over nothing."""
        del loss
        return Rerun(1.0)

    def probe(self, seed: float) -> Tensor:
        """Sum one gradient as all are; refuse if somebody else has done so before.

        Raises:
            SettingError: if the gradient is not this rank's own.
        """
        usable = dense(self.parameters, self._sparse)
        if not usable:
            return torch.ones(())
        with torch.enable_grad():
            probing(usable).mul(seed).backward()  # type: ignore[no-untyped-call]
        grad = usable[0].grad
        assert grad is not None
        mine = grad.flatten()[0].item()
        usable[0].grad = None
        if mine != seed:
            raise SettingError(
                f"a gradient of {seed} came back as {mine}: something sums gradients over ranks "
                "already. Hand Step the model in DistributedDataParallel or fully_shard, or bare."
            )
        # the sum that reduce makes is known; this rank holds all of it
        return torch.ones(())

    def reduce(self) -> None:
        """Sum all gradients over ranks; one that no rank has stays None where that is known."""
        dense = [p for p in self.parameters if not self._is_sparse(p)]
        for p in self.parameters:
            if self._is_sparse(p):
                p.grad = self._sum_sparse(p)
        buckets = [_Bucket(part) for part in _parts(dense)]
        works = [self.group.sum(bucket.flat, wait=False) for bucket in buckets]
        for bucket, work in zip(buckets, works, strict=True):
            assert work is not None
            work.wait()
            bucket.unpack()

    def _is_sparse(self, parameter: Tensor) -> bool:
        return parameter in self._sparse

    def _sum_sparse(self, parameter: Tensor) -> Tensor:
        grad = parameter.grad
        if grad is None:
            nothing = torch.empty((1, 0), dtype=torch.long, device=parameter.device)
            values = parameter.new_empty((0, *parameter.shape[1:]))
            # given explicitly, since torch warns where it is not
            grad = torch.sparse_coo_tensor(nothing, values, parameter.shape, check_invariants=False)
        grad = grad.coalesce()
        distributed.all_reduce(grad, group=self.group.process_group)
        return grad.coalesce()


class _Bucket:
    """Gradients of one dtype and device in one tensor; on the CPU with a mark for each there is.

    Elsewhere reading the marks would wait, so a gradient that no rank has is 0 there, not None.
    """

    def __init__(self, parameters: list[Tensor]) -> None:
        self.parameters = parameters
        grads = [p.grad for p in parameters]
        first = parameters[0]
        self.marks = len(grads) if first.device.type == "cpu" else 0
        marks = torch.tensor([g is not None for g in grads[: self.marks]]).to(first.dtype)
        pieces = [
            torch.zeros_like(p).flatten() if g is None else g.flatten()
            for p, g in zip(parameters, grads, strict=True)
        ]
        self.flat = torch.cat([marks, *pieces] if self.marks else pieces)

    def unpack(self) -> None:
        """Give every parameter its sum."""
        marks, flat = self.flat[: self.marks], self.flat[self.marks :]
        there = marks.tolist() if self.marks else [1.0] * len(self.parameters)
        pieces = torch.split(flat, [p.numel() for p in self.parameters])
        for parameter, piece, mark in zip(self.parameters, pieces, there, strict=True):
            if not mark:
                parameter.grad = None
            elif parameter.grad is None:
                parameter.grad = piece.view_as(parameter).clone()
            else:
                parameter.grad.copy_(piece.view_as(parameter))


def _parts(parameters: Sequence[Tensor]) -> list[list[Tensor]]:
    """Return the parameters in buckets of one dtype and device."""
    parts: list[list[Tensor]] = []
    open_parts: dict[tuple[torch.dtype, torch.device], tuple[list[Tensor], int]] = {}
    for parameter in parameters:
        key = (parameter.dtype, parameter.device)
        part, size = open_parts.get(key, ([], BUCKET_BYTES))
        if size >= BUCKET_BYTES:
            part, size = [], 0
            parts.append(part)
        part.append(parameter)
        open_parts[key] = (part, size + parameter.nbytes)
    return parts
