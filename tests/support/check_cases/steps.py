"""Training steps, each made of a loss: right, and wrong in the ways that are known."""

import torch

from check_cases.losses import mean_of, of_all_steps, of_classes, of_starts, of_steps


def exact(loss, report=True, clip=None):
    def run(model, optimizer, batches):
        optimizer.zero_grad()
        total, weight = 0.0, 0.0
        for batch in batches:
            part, w = loss(model, batch)
            part.backward()
            total, weight = total + part.item(), weight + float(w)
        for param in model.parameters():
            if param.grad is not None:
                param.grad /= weight
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        return total / weight if report else None

    return run


def through_a_running_sum(loss):
    """Goes backward through the losses so far, again with every micro-batch."""

    def run(model, optimizer, batches):
        optimizer.zero_grad()
        value = 0.0
        for batch in batches:
            value = value + mean_of(loss, model, batch) / len(batches)
            value.backward(retain_graph=True)
        optimizer.step()
        return value

    return run


def exact_by_counting_first(loss, weight_of):
    def run(model, optimizer, batches):
        optimizer.zero_grad()
        weight = sum(weight_of(batch) for batch in batches)
        value = 0.0
        for batch in batches:
            part = loss(model, batch)[0] / weight
            part.backward()
            value += part.item()
        optimizer.step()
        return value

    return run


def averaged(loss, divide=None, reported="mean", clip=None, zero="start", by_samples=False):
    """The usual loop: each micro-batch's mean, divided by `divide` or their number."""

    def run(model, optimizer, batches):
        optimizer.zero_grad()
        values = []
        k = divide or len(batches)
        samples = sum(size_of(batch) for batch in batches)
        for batch in batches:
            if zero == "inside":
                optimizer.zero_grad()
            value = mean_of(loss, model, batch)
            scale = size_of(batch) / samples if by_samples else 1 / k
            if zero == "first" and values:
                value = value.detach()
            else:
                (value * scale).backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            values.append(value.item())
        optimizer.step()
        return say(values, reported)

    return run


def exact_but_says(loss, reported):
    """The right gradient, and another number."""
    right = exact(loss)

    def run(model, optimizer, batches):
        with torch.no_grad():
            values = [mean_of(loss, model, batch).item() for batch in batches]
        right(model, optimizer, batches)
        return say(values, reported)

    return run


def say(values, reported):
    return {
        "mean": sum(values) / len(values),
        "sum": sum(values),
        "last": values[-1],
        "first": values[0],
        "last/k": values[-1] / len(values),
        "none": None,
    }[reported]


def size_of(batch):
    first = next(iter(batch.values())) if isinstance(batch, dict) else batch[0]
    return len(first)


def exact_clipped_each(loss, weight_of, clip):
    def run(model, optimizer, batches):
        optimizer.zero_grad()
        weight = sum(weight_of(batch) for batch in batches)
        for batch in batches:
            (loss(model, batch)[0] / weight).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()

    return run


def two_terms(scale_second, second):
    """A main term that is right, and a second one scaled by scale_second(number, sizes)."""

    def run(model, optimizer, batches):
        optimizer.zero_grad()
        n = sum(size_of(batch) for batch in batches)
        for batch in batches:
            main = of_classes(model, batch)[0] / n
            share = size_of(batch) / n
            (main + 0.5 * second(model, batch) * scale_second(len(batches), share)).backward()
        optimizer.step()

    return run


def two_terms_by_means(model, optimizer, batches):
    """Two means of unlike weights, both averaged over micro-batches."""
    optimizer.zero_grad()
    value = 0.0
    for batch in batches:
        total, weight = of_steps(model, batch)
        start = model(batch)[:, 0].pow(2).mean()
        part = (total / weight + 0.5 * start) / len(batches)
        part.backward()
        value += part.item()
    optimizer.step()
    return value


def terms_by_means(*losses, by_samples=False, report=True):
    """The usual loop over an objective of several means: their sum, averaged over micro-batches."""

    def run(model, optimizer, batches):
        optimizer.zero_grad()
        samples, value = sum(size_of(batch) for batch in batches), 0.0
        for batch in batches:
            scale = size_of(batch) / samples if by_samples else 1 / len(batches)
            part = sum(mean_of(loss, model, batch) for loss in losses) * scale
            part.backward()
            value += part.item()
        optimizer.step()
        return value if report else None

    return run


def padded_and_undivided(model, optimizer, batches):
    """Counts padding in one term, and never divides the other."""
    optimizer.zero_grad()
    n = sum(size_of(batch) for batch in batches)
    for batch in batches:
        main = mean_of(of_all_steps, model, batch) * size_of(batch) / n
        (main + 0.1 * mean_of(of_starts, model, batch)).backward()
    optimizer.step()


def clipped_by_hand(loss, limit, each=False, mean=False):
    """Clips by code of its own, once at the end or after each micro-batch."""

    def clip(model):
        norm = sum((p.grad**2).sum() for p in model.parameters() if p.grad is not None).sqrt()
        for param in model.parameters():
            if param.grad is not None:
                param.grad *= min(1.0, limit / (norm.item() + 1e-6))

    def run(model, optimizer, batches):
        optimizer.zero_grad()
        samples = sum(size_of(batch) for batch in batches)
        for batch in batches:
            scale = 1 / len(batches) if mean else size_of(batch) / samples
            (mean_of(loss, model, batch) * scale).backward()
            if each:
                clip(model)
        if not each:
            clip(model)
        optimizer.step()

    return run


def clamped_by_hand(model, optimizer, batches):
    """Clips every entry by code of its own, once, at the end."""
    optimizer.zero_grad()
    n = sum(size_of(batch) for batch in batches)
    for batch in batches:
        (of_classes(model, batch)[0] / n).backward()
    for param in model.parameters():
        if param.grad is not None:
            param.grad.clamp_(-0.02, 0.02)
    optimizer.step()


def normalised_each(model, optimizer, batches):
    """Every micro-batch's gradient is brought to length 1: no clipping, and nothing is coupled."""
    params = list(model.parameters())
    total = [torch.zeros_like(p) for p in params]
    for batch in batches:
        optimizer.zero_grad()
        mean_of(of_classes, model, batch).backward()
        size = sum((p.grad**2).sum() for p in params if p.grad is not None).sqrt()
        for kept, param in zip(total, params, strict=True):
            if param.grad is not None:
                kept.add_(param.grad / size)
    for kept, param in zip(total, params, strict=True):
        param.grad = kept / len(batches)
    optimizer.step()


def loop(loss, k):
    """Takes a loader, steps every k micro-batches and divides by k also where fewer are left."""

    def run(model, optimizer, loader):
        optimizer.zero_grad()
        for index, batch in enumerate(loader):
            (mean_of(loss, model, batch) / k).backward()
            if (index + 1) % k == 0 or index + 1 == len(loader):
                optimizer.step()
                optimizer.zero_grad()

    return run


def exact_loop(loss, k):
    def run(model, optimizer, loader):
        one = exact(loss, report=False)
        for start in range(0, len(loader), k):
            one(model, optimizer, loader[start : start + k])

    return run


def adam(params):
    return torch.optim.AdamW(params, lr=1e-3)


def sgd(params):
    return torch.optim.SGD(params, lr=0.1)


SEEN: list[float] = []


def remembering(model, optimizer, batches):
    """Scales by how often it was called."""
    SEEN.append(1.0)
    optimizer.zero_grad()
    n = sum(size_of(batch) for batch in batches)
    for batch in batches:
        (of_classes(model, batch)[0] / n * (1 + 0.1 * len(SEEN))).backward()
    optimizer.step()


def with_cached_scale(model, optimizer, batches):
    """Keeps a running scale on the model."""
    optimizer.zero_grad()
    n = sum(size_of(batch) for batch in batches)
    for batch in batches:
        total = of_classes(model, batch)[0]
        model.scale = 0.5 * getattr(model, "scale", 0.0) + 0.5 * float(total.detach())
        (total / n / (1 + model.scale)).backward()
    optimizer.step()


def count_classes(batch):
    return len(batch[1])


def count_steps(batch):
    return batch["mask"].sum()
