"""Hits of training batches are counted many at once, and are those of each batch."""

import torch
from torch.nn import functional as F

import batchproof as bp
from batchproof.watch._hits import WAITING


def batches(sizes, classes):
    generator = torch.Generator().manual_seed(0)
    for size in sizes:
        logits = torch.randn(size, classes, generator=generator, requires_grad=True)
        yield logits, torch.randint(classes, (size,), generator=generator)


def hits_of(seen):
    return [event.hits for event in seen.watcher.losses]


def test_each_batch_has_its_own_hits_whatever_the_sizes_and_classes():
    sizes = [7, 64, 1, 33]
    every = [*batches(sizes, 5), *batches(sizes, 11)]
    with bp.watch(numbers=False) as seen:
        for logits, target in every:
            F.cross_entropy(logits, target)
    assert hits_of(seen) == [int(x.argmax(1).eq(y).sum()) for x, y in every]


def test_more_batches_than_are_kept_are_counted():
    every = list(batches([64] * (2 * WAITING // 640 + 3), 10))
    with bp.watch(numbers=False) as seen:
        for logits, target in every:
            F.cross_entropy(logits, target)
        waiting = sum(logits.numel() for _, logits, *_ in seen.watcher.calls._hits._waiting)
    assert waiting <= WAITING
    assert hits_of(seen) == [int(x.argmax(1).eq(y).sum()) for x, y in every]


def test_a_target_that_is_written_to_after_the_loss_says_nothing_of_it():
    (logits, target), (others, other) = batches([9, 9], 4)
    with bp.watch(numbers=False) as seen:
        F.cross_entropy(logits, target)
        target.fill_(0)
        F.cross_entropy(others, other)
    assert hits_of(seen) == [None, int(others.argmax(1).eq(other).sum())]


def test_a_part_of_a_larger_tensor_is_looked_through_at_once():
    large = torch.randn(40, 6, requires_grad=True)
    with bp.watch(numbers=False) as seen:
        F.cross_entropy(large[:8], torch.zeros(8, dtype=torch.int64))
        assert not seen.watcher.calls._hits._waiting
    assert hits_of(seen) == [int(large[:8].argmax(1).eq(0).sum())]
