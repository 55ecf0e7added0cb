"""Losses of policies by hand: -min(ratio * advantage, clipped ratio * advantage).

What arrives at the log-probabilities carries advantages and ratios, which no mean has. What arrives
at the minimum (or at the maximum of both negated) is the share of each element, before them.
"""

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from batchproof.watch._calls import Calls
from batchproof.watch._ledger import Loss
from batchproof.watch._losses import Arrival, arrival_of
from batchproof.watch._place import user_site

# between the loss and its elements, and between these and the log-probabilities, are few operations
NODES = 128
CLIPS = ("MinimumBackward0", "MaximumBackward0")


def begins(calls: Calls, roots: Tensor | Iterable[Tensor]) -> None:
    """Look for clipped losses where a backward pass begins."""
    if calls.has_rows:
        calls.has_rows = False
        for root in (roots,) if isinstance(roots, Tensor) else roots:
            listen(root, user_site(), calls.arrived)


def listen(root: Tensor, site: str, arrived: Callable[[Loss, Arrival], None]) -> None:
    """Listen for the shares of the clipped losses that a tensor was made of.

    Log-probabilities that reach it by two of them have their shares at neither.

    Args:
        root: what a backward pass begins at.
        site: "file:line" of the pass, where the loss is that its log-probabilities became.
        arrived: called with the log-probabilities and the shares of what they became.
    """
    clips = [node for node in _nodes(root.grad_fn, CLIPS) if node.name() in CLIPS]
    below = [[n.metadata.get("batchproof_log") for n in _nodes(clip, ())] for clip in clips]
    reaches = Counter(id(loss) for losses in below for loss in losses)
    for clip, losses in zip(clips, below, strict=True):
        rows = [loss for loss in losses if loss is not None and not loss.consumed]
        if not rows or any(reaches[id(loss)] > 1 for loss in rows):
            continue
        for loss in rows:
            loss.consumed = True
        rows[0].site = site
        clip.register_prehook(partial(_hear, rows[0], arrived))


def _hear(
    loss: Loss, arrived: Callable[[Loss, Arrival], None], gradients: tuple[Tensor | None, ...]
) -> None:
    gradient = gradients[0]
    if gradient is None or not gradient.ndim:
        return
    loss.kind, loss.arrived = "surrogate", True
    loss.samples = int(gradient.shape[0])
    loss.weight = loss.elements = loss.size = gradient.numel()
    with torch.no_grad():
        # the smaller of what is to grow, or the larger of losses
        shares = gradient.detach() * gradient.detach().sum().sign()
        arrived(loss, arrival_of(shares, None))


def _nodes(start: Any, ends: Collection[str]) -> Iterator[Any]:
    """Return the nodes nearest to one, up to those that are ends or log-probabilities."""
    queue, nodes = deque([start]), {start}
    while queue and len(nodes) < NODES:
        node = queue.popleft()
        if node is None:
            continue
        yield node
        if node.name() in ends or "batchproof_log" in node.metadata:
            continue
        for parent, _ in node.next_functions:
            if parent not in nodes:
                nodes.add(parent)
                queue.append(parent)
