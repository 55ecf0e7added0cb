"""What each mistake is called, in one sentence, with the remedy and the lines to write."""

from batchproof.check._report._report import Diagnosis

_STEP = (
    "step = batchproof.Step(model, optimizer)\n"
    "step(micro_batches, loss)   # loss(model, batch) -> batchproof.reduce(...)"
)
_TOTAL = (
    "# batch_weight: how many elements, or samples, of it count\n"
    "weight = sum(batch_weight(b) for b in micro_batches)\n"
    "for b in micro_batches:\n"
    "    (loss_sum(model, b) / weight).backward()\n"
    "optimizer.step()"
)
_METER = (
    "meter = batchproof.Meter()\n"
    "for batch in batches:\n"
    "    meter.add(batchproof.reduce(losses(model, batch), mask=mask(batch)))\n"
    "value = meter.estimate().value"
)

_SYNCED = (
    "meter = batchproof.Meter()   # on every rank, over its own samples\n"
    "for batch in batches:\n"
    "    meter.add(batchproof.reduce(losses(model, batch), mask=mask(batch)))\n"
    "value = meter.sync().estimate().value"
)

_REMEDY: dict[str, tuple[str, str]] = {
    "mean-of-micro-batch-means": (
        "Sum the losses of all micro-batches and divide once by the weight of all of them.",
        f"{_TOTAL}\n# or\n{_STEP}",
    ),
    "weight-per-micro-batch": (
        "Divide the summed weighted losses by the sum of weights of the whole window.",
        (
            "weight = sum(weights[b.target].sum() for b in micro_batches)\n"
            "for b in micro_batches:\n"
            "    logits = model(b.input)\n"
            "    loss = F.cross_entropy(logits, b.target, weights, reduction='sum')\n"
            "    (loss / weight).backward()"
        ),
    ),
    "fixed-window-size": (
        "Divide by what the window holds, not by the number that it would hold if it were full.",
        _TOTAL,
    ),
    "not-divided": (
        "Divide by the weight of the whole window before the optimiser steps.",
        f"{_TOTAL}\n# or\n{_STEP}",
    ),
    "world-size-factor": (
        "The wrapper averages over ranks: scale each rank's sum by world size / global weight.",
        (
            "weight = torch.tensor(local_weight)\n"
            "torch.distributed.all_reduce(weight)\n"
            "(loss_sum * torch.distributed.get_world_size() / weight).backward()"
        ),
    ),
    "padding-counted": (
        (
            "Replace losses under the mask by zero and divide by the number of unmasked elements; "
            "let the model not read padding."
        ),
        (
            "losses = torch.where(mask, losses, 0)\n"
            "mean = batchproof.reduce(losses, mask=mask)   # (sum, number of unmasked)"
        ),
    ),
    "empty-micro-batch-nan": (
        (
            "Keep sums and weights apart until the end of the window: an empty micro-batch adds 0 "
            "to both."
        ),
        "total = torch.where(mask, losses, 0).sum()\n"
        "weight = mask.sum()   # and no total / weight yet\n"
        "# or\n" + _STEP,
    ),
    "one-micro-batch-only": (
        "Zero the gradients once a window, before its first micro-batch, and step after its last.",
        (
            "optimizer.zero_grad()\n"
            "for b in micro_batches:\n"
            "    loss(model, b).backward()\n"
            "optimizer.step()"
        ),
    ),
    "term-scaled-apart": (
        "Give every term of the objective its own sum and weight, and scale each by the window's.",
        (
            "step = batchproof.Step(model, optimizer, count=count)\n"
            "step(micro_batches, loss)   # loss -> {'main': Mean, 'auxiliary': Mean}"
        ),
    ),
    "clipped-per-micro-batch": (
        "Clip once, after the last micro-batch and after the division.",
        (
            "for b in micro_batches:\n"
            "    (loss_sum(model, b) / weight).backward()\n"
            "torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)\n"
            "optimizer.step()"
        ),
    ),
    "reported-loss": (
        "Report the sum of losses over the sum of weights of all micro-batches.",
        "total, weight = total + loss_sum.detach(), weight + batch_weight\nreturn total / weight",
    ),
    "duplicated-samples": (
        "Share samples out without padding, or drop the repeated ones before the sums.",
        "sampler = batchproof.data.ShardSampler(dataset)   # repeats and drops none",
    ),
    "batch-norm": (
        "Use a normalisation that looks at one sample at a time, or freeze the statistics.",
        "model.norm = nn.GroupNorm(groups, channels)   # not nn.BatchNorm2d(...)",
    ),
    "random-draws": (
        (
            "Draw from a generator that is seeded, and per sample, or leave the draws out of what "
            "is compared."
        ),
        "",
    ),
    "coupled-samples": (
        (
            "Choose the batch that the loss is defined on, and keep it whole: gather it over "
            "micro-batches and ranks before the loss."
        ),
        "",
    ),
    "leaking-state": (
        "Reset what is kept between calls at the start of a step, gradients included.",
        "optimizer.zero_grad(set_to_none=True)",
    ),
    "nan-batch-dropped": (
        (
            "Let NaN reach the result, or raise: a mean over the other batches is a mean of "
            "something else."
        ),
        "",
    ),
    "unknown": ("Look at the numbers under each cut.", ""),
}

_OF_EVALUATION: dict[str, tuple[str, str]] = {
    "not-divided": ("Divide the sum over all batches by the weight of all of them.", _METER),
    "one-micro-batch-only": ("Add up sums and weights of every batch and every rank.", _METER),
    "world-size-factor": ("Pool the sums and weights of all ranks, and divide once.", _SYNCED),
    "batch-norm": (
        "Put the model on its running statistics before it is evaluated.",
        "model.eval()",
    ),
    "coupled-samples": (
        (
            "Keep what the number is made of (sums, counts, scores) over all batches, and compute "
            "it from them once, at the end."
        ),
        "",
    ),
    "leaking-state": ("Reset what is kept between calls before an evaluation begins.", ""),
}


def diagnosis(
    name: str, sentence: str, residual: float | None = None, *, evaluation: bool = False
) -> Diagnosis:
    """Return a diagnosis with the remedy that belongs to its name.

    Args:
        name: of the mistake.
        sentence: what is wrong.
        residual: of its prediction.
        evaluation: whether an evaluation was checked, not a step.
    """
    remedy, code = _REMEDY[name]
    if evaluation and name in _OF_EVALUATION:
        remedy, code = _OF_EVALUATION[name]
    elif evaluation and name not in {"duplicated-samples", "padding-counted"}:
        code = _METER
    return Diagnosis(name, sentence, remedy, code, residual)
