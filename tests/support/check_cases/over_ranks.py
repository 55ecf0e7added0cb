"""Steps and evaluations over processes: found by name, so that other processes can import them."""

import os

import torch

from check_cases.losses import of_classes


def over_ranks(value):
    total = torch.as_tensor(float(value), dtype=torch.float64)
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(total)
    return total.item()


def world_size():
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def pooled_over_ranks(model, optimizer, batches):
    optimizer.zero_grad()
    weight = over_ranks(sum(len(batch[1]) for batch in batches))
    value = 0.0
    for batch in batches:
        part = of_classes(model, batch)[0] / weight
        (part * world_size()).backward()
        value += part.item()
    optimizer.step()
    return over_ranks(value)


def without_world_size(model, optimizer, batches):
    """Divides by the weight of all ranks, and the wrapper once more; says this rank's part."""
    optimizer.zero_grad()
    weight = over_ranks(sum(len(batch[1]) for batch in batches))
    value = 0.0
    for batch in batches:
        part = of_classes(model, batch)[0] / weight
        part.backward()
        value += part.item()
    optimizer.step()
    return value


def own_mean(model, optimizer, batches):
    """Exact within a rank; the wrapper averages the ranks."""
    optimizer.zero_grad()
    weight = sum(len(batch[1]) for batch in batches)
    value = 0.0
    for batch in batches:
        part = of_classes(model, batch)[0] / weight
        part.backward()
        value += part.item()
    optimizer.step()
    return over_ranks(value) / world_size()


def second_rank():
    return torch.distributed.is_initialized() and torch.distributed.get_rank() == 1


def light_on_rank_one(model, optimizer, batches):
    """Right on one process; what the second rank has counts less."""
    optimizer.zero_grad()
    weight = over_ranks(sum(len(batch[1]) for batch in batches))
    for batch in batches:
        share = 0.7 if second_rank() else 1.0
        (of_classes(model, batch)[0] / weight * world_size() * share).backward()
    optimizer.step()


def light_shard(model, batches):
    """Right on one process; what the second rank has counts less."""
    return exact_shards(model, batches) - over_ranks(0.1 if second_rank() else 0.0)


def pooled_and_says_its_own(model, optimizer, batches):
    plain = model.module if hasattr(model, "module") else model
    with torch.no_grad():
        value = sum(of_classes(plain, batch)[0].item() for batch in batches)
    pooled_over_ranks(model, optimizer, batches)
    return value / sum(len(batch[1]) for batch in batches)


def pooled_by_hand(model, optimizer, batches):
    """No wrapper: sums gradients over ranks itself, also where a rank has nothing."""
    optimizer.zero_grad()
    weight = over_ranks(sum(len(batch[1]) for batch in batches))
    for batch in batches:
        (of_classes(model, batch)[0] / weight).backward()
    for param in model.parameters():
        if param.grad is None:
            param.grad = torch.zeros_like(param)
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(param.grad)
    optimizer.step()


def fails_on_rank_one(model, optimizer, batches):
    if torch.distributed.is_initialized() and torch.distributed.get_rank() == 1:
        raise KeyError("labels")
    pooled_over_ranks(model, optimizer, batches)


def dies_on_rank_one(model, optimizer, batches):
    if torch.distributed.is_initialized() and torch.distributed.get_rank() == 1:
        os._exit(9)
    pooled_over_ranks(model, optimizer, batches)


def hangs_on_rank_one(model, optimizer, batches):
    if torch.distributed.is_initialized() and torch.distributed.get_rank() == 0:
        torch.distributed.barrier()
    optimizer.zero_grad()
    of_classes(model.module if hasattr(model, "module") else model, batches[0])[0].backward()
    optimizer.step()


def padded_shards(model, batches):
    """Hands the first batches out again until every rank has as many, and averages."""
    rank, world = torch.distributed.get_rank() if world_size() > 1 else 0, world_size()
    padded = batches + batches[: -len(batches) % world]
    with torch.no_grad():
        pairs = [of_classes(model, batch) for batch in padded[rank::world]]
    total, weight = sum(t.item() for t, _ in pairs), sum(w for _, w in pairs)
    return over_ranks(total) / over_ranks(weight)


def exact_shards(model, batches):
    with torch.no_grad():
        pairs = [of_classes(model, batch) for batch in batches]
    return over_ranks(sum(t.item() for t, _ in pairs)) / over_ranks(sum(w for _, w in pairs))
