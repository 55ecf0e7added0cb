"""Every mistake that batchproof knows."""

from difflib import get_close_matches

from batchproof._errors import SettingError
from batchproof.mistakes._mistake import Mistake, Remedy

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
_BY_SIZE = "total += loss.item() * len(targets)\ncount += len(targets)\n...\nmean = total / count"
_BY_METER = Remedy("Add up sums and weights of every batch and every rank.", _METER)


_GRADIENT = (
    Mistake(
        "mean-of-micro-batch-means",
        "BP101",
        "gradient",
        "The means of micro-batches are averaged as if each micro-batch weighed the same.",
        Remedy(
            "Sum the losses of all micro-batches and divide once by the weight of all of them.",
            f"{_TOTAL}\n# or\n{_STEP}",
        ),
        Remedy(
            "Sum the losses of all micro-batches and divide once by the weight of all of them.",
            _METER,
        ),
    ),
    Mistake(
        "fixed-window-size",
        "BP102",
        "gradient",
        "Every micro-batch is divided by the size of a full window, and a window is short.",
        Remedy(
            "Divide by what the window holds, not by the number that it would hold if it were "
            "full.",
            _TOTAL,
        ),
        Remedy(
            "Divide by what the window holds, not by the number that it would hold if it were "
            "full.",
            _METER,
        ),
    ),
    Mistake(
        "leftover-window",
        "BP103",
        "gradient",
        "The micro-batches after the last full window are never stepped, leak into the next "
        "epoch, or are divided as if the window were full.",
        Remedy(
            "Step once more after the last micro-batch, divided by what the short window holds.",
            "for window in batchproof.windows(loader, accumulate=k):\n    step(window, loss)",
        ),
    ),
    Mistake(
        "first-window-short",
        "BP104",
        "gradient",
        "The first window of an epoch ends after fewer micro-batches than it is divided by.",
        Remedy(
            "Count from one: step after the k-th micro-batch, not before it.",
            "if (i + 1) % k == 0:\n    optimizer.step()\n    optimizer.zero_grad()",
        ),
    ),
    Mistake(
        "not-divided",
        "BP105",
        "gradient",
        "The means of the micro-batches are added and never divided by what the window holds.",
        Remedy(
            "Divide by the weight of the whole window before the optimiser steps.",
            f"{_TOTAL}\n# or\n{_STEP}",
        ),
        Remedy("Divide the sum over all batches by the weight of all of them.", _METER),
    ),
    Mistake(
        "divided-twice",
        "BP106",
        "gradient",
        "A mean is divided once more by a count that it was already divided by.",
        Remedy(
            "Divide once: take the sum of the losses over the weight of the whole window.",
            _TOTAL,
        ),
        Remedy("Divide once: take the sum of the losses over the sum of weights.", _METER),
    ),
    Mistake(
        "world-size-factor",
        "BP107",
        "gradient",
        "The ranks are divided by twice, or not at all.",
        Remedy(
            "The wrapper averages over ranks: scale each rank's sum by world size / global weight.",
            "weight = torch.tensor(local_weight)\n"
            "torch.distributed.all_reduce(weight)\n"
            "(loss_sum * torch.distributed.get_world_size() / weight).backward()",
        ),
        Remedy("Pool the sums and weights of all ranks, and divide once.", _SYNCED),
    ),
    Mistake(
        "padding-counted",
        "BP108",
        "gradient",
        "Padding enters the denominator, the loss or the model.",
        Remedy(
            "Replace losses under the mask by zero and divide by the number of unmasked "
            "elements; let the model not read padding.",
            "losses = torch.where(mask, losses, 0)\n"
            "mean = batchproof.reduce(losses, mask=mask)   # (sum, number of unmasked)",
        ),
    ),
    Mistake(
        "empty-micro-batch-nan",
        "BP109",
        "gradient",
        "A micro-batch in which everything is masked divides 0 by 0.",
        Remedy(
            "Keep sums and weights apart until the end of the window: an empty micro-batch "
            "adds 0 to both.",
            "total = torch.where(mask, losses, 0).sum()\n"
            "weight = mask.sum()   # and no total / weight yet\n"
            "# or\n" + _STEP,
        ),
        Remedy(
            "Keep sums and weights apart until the end of the window: an empty micro-batch "
            "adds 0 to both.",
            _METER,
        ),
    ),
    Mistake(
        "one-micro-batch-only",
        "BP110",
        "gradient",
        "Only one micro-batch of the window counts; what the others gave is dropped.",
        Remedy(
            "Zero the gradients once a window, before its first micro-batch, and step after "
            "its last.",
            "optimizer.zero_grad()\n"
            "for b in micro_batches:\n"
            "    loss(model, b).backward()\n"
            "optimizer.step()",
        ),
        _BY_METER,
    ),
    Mistake(
        "weight-per-micro-batch",
        "BP111",
        "gradient",
        "Weighted losses are divided by the weights of their own micro-batch, not of the window.",
        Remedy(
            "Divide the summed weighted losses by the sum of weights of the whole window.",
            "weight = sum(weights[b.target].sum() for b in micro_batches)\n"
            "for b in micro_batches:\n"
            "    logits = model(b.input)\n"
            "    loss = F.cross_entropy(logits, b.target, weights, reduction='sum')\n"
            "    (loss / weight).backward()",
        ),
        Remedy(
            "Divide the summed weighted losses by the sum of weights of the whole window.",
            _METER,
        ),
    ),
    Mistake(
        "term-scaled-apart",
        "BP112",
        "gradient",
        "One term of the objective is scaled differently from the others.",
        Remedy(
            "Give every term of the objective its own sum and weight, and scale each by the "
            "window's.",
            "step = batchproof.Step(model, optimizer, count=count)\n"
            "step(micro_batches, loss)   # loss -> {'main': Mean, 'auxiliary': Mean}",
        ),
        Remedy(
            "Give every term of the objective its own sum and weight, and scale each by the "
            "window's.",
            _METER,
        ),
    ),
    Mistake(
        "clipped-per-micro-batch",
        "BP113",
        "gradient",
        "The gradient is clipped before all micro-batches of the window have entered it.",
        Remedy(
            "Clip once, after the last micro-batch and after the division.",
            "for b in micro_batches:\n"
            "    (loss_sum(model, b) / weight).backward()\n"
            "torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)\n"
            "optimizer.step()",
        ),
    ),
    Mistake(
        "clipped-before-unscale",
        "BP114",
        "gradient",
        "The gradient is clipped while it still carries the loss scale.",
        Remedy(
            "Unscale the gradients before they are clipped.",
            "scaler.unscale_(optimizer)\n"
            "torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)\n"
            "scaler.step(optimizer)",
        ),
    ),
    Mistake(
        "gradients-not-zeroed",
        "BP115",
        "gradient",
        "Gradients of earlier steps are still in the sum when the optimiser steps.",
        Remedy(
            "Zero the gradients once for every optimiser step.",
            "optimizer.zero_grad()\nloss.backward()\noptimizer.step()",
        ),
    ),
    Mistake(
        "zeroed-before-step",
        "BP116",
        "gradient",
        "The gradients are zeroed between the backward pass and the optimiser step.",
        Remedy(
            "Zero the gradients before the backward pass, or after the step.",
            "optimizer.zero_grad()\nloss.backward()\noptimizer.step()",
        ),
    ),
    Mistake(
        "gradient-of-another-loss",
        "BP117",
        "gradient",
        "The gradient is not that of the loss that is reported.",
        Remedy("Report the loss that is back-propagated, and detach only what must stay constant."),
    ),
)


_NUMBER = (
    Mistake(
        "mean-of-batch-means",
        "BP201",
        "number",
        "The means of batches are averaged as if each batch weighed the same.",
        Remedy("Weigh each batch by what its mean was divided by.", f"{_BY_SIZE}\n# or\n{_METER}"),
    ),
    Mistake(
        "wrong-divisor",
        "BP202",
        "number",
        "A sum is divided by a count that does not belong to it.",
        Remedy("Divide the sum of losses by the number of samples, or elements, summed.", _BY_SIZE),
    ),
    Mistake(
        "divisor-not-seen",
        "BP203",
        "number",
        "A sum is divided by the size of a data set of which only a part was seen.",
        Remedy("Count what was seen, and divide by that.", _BY_SIZE),
    ),
    Mistake(
        "window-average-off",
        "BP204",
        "number",
        "A running average is divided by another number of batches than it holds.",
        Remedy(
            "Count what the average holds, and reset sum and count together.",
            "running += loss.item()\ncount += 1\nif count == every:\n"
            "    print(running / count)\n    running, count = 0.0, 0",
        ),
    ),
    Mistake(
        "last-batch-reported",
        "BP205",
        "number",
        "The loss of the last batch is reported as that of the whole pass.",
        Remedy("Add up every batch of the pass, and divide once.", _METER),
    ),
    Mistake(
        "scaled-loss-reported",
        "BP206",
        "number",
        "The loss is reported after it was scaled for the backward pass.",
        Remedy(
            "Report the loss before it is divided.",
            "(loss / k).backward()\ntotal += loss.item()   # not of loss / k",
        ),
    ),
    Mistake(
        "reported-loss",
        "BP207",
        "number",
        "The reported loss is not the mean over all samples.",
        Remedy(
            "Report the sum of losses over the sum of weights of all micro-batches.",
            "total, weight = total + loss_sum.detach(), weight + batch_weight\n"
            "return total / weight",
        ),
        Remedy("Report the sum of losses over the sum of weights of all micro-batches.", _METER),
    ),
    Mistake(
        "ratio-of-counts",
        "BP208",
        "number",
        "A ratio or root of counts is averaged over batches, and no weighting makes it right.",
        Remedy(
            "Add the counts (or squares) of all batches, and take the ratio (or root) once.",
            "hits, total = hits + batch_hits, total + batch_total\n...\nvalue = hits / total",
        ),
    ),
    Mistake(
        "nan-batch-dropped",
        "BP209",
        "number",
        "A batch whose loss is NaN is left out of the mean silently.",
        Remedy(
            "Let NaN reach the result, or raise: a mean over the other batches is a mean of "
            "something else."
        ),
        Remedy(
            "Let NaN reach the result, or raise: a mean over the other batches is a mean of "
            "something else.",
            _METER,
        ),
    ),
    Mistake(
        "samples-left-out",
        "BP210",
        "number",
        "Some samples never enter the number or the gradient.",
        Remedy(
            "Build the loader without drop_last, and run the loop to its end.",
            "loader = DataLoader(dataset, batch_size, drop_last=False)",
        ),
    ),
    Mistake(
        "duplicated-samples",
        "BP211",
        "number",
        "Some samples enter twice, such as those that a sampler repeats to fill its ranks.",
        Remedy(
            "Share samples out without padding, or drop the repeated ones before the sums.",
            "sampler = batchproof.data.ShardSampler(dataset)   # repeats and drops none",
        ),
    ),
    Mistake(
        "rank-local-reported",
        "BP212",
        "number",
        "The number of one rank is reported as that of all.",
        Remedy("Pool the sums and weights of all ranks before reporting.", _SYNCED),
    ),
    Mistake(
        "mean-over-ranks",
        "BP213",
        "number",
        "The means of ranks are averaged as if each rank held as much.",
        Remedy("Pool the sums and weights of all ranks, and divide once.", _SYNCED),
    ),
)


_MODEL = (
    Mistake(
        "best-by-reference",
        "BP301",
        "model",
        "The best weights are kept by reference, so they move on with the training.",
        Remedy(
            "Keep a copy.",
            "import copy\nbest = copy.deepcopy(model.state_dict())",
        ),
    ),
    Mistake(
        "minimum-never-updated",
        "BP302",
        "model",
        "The best value is compared with and never updated.",
        Remedy("Update the best value with the weights.", "if value < best:\n    best = value"),
    ),
    Mistake(
        "best-by-last-batch",
        "BP303",
        "model",
        "The best model is chosen by the loss of one batch.",
        Remedy("Choose by the mean over the whole validation set.", _METER),
    ),
    Mistake(
        "state-moved-per-micro-batch",
        "BP304",
        "model",
        "A state that belongs to the optimiser step moves with every micro-batch.",
        Remedy(
            "Update averages, buffers and schedules once for every optimiser step.",
            "optimizer.step()\naverage.update_parameters(model)\nscheduler.step()",
        ),
    ),
)


_LOOP = (
    Mistake(
        "graph-kept",
        "BP401",
        "loop",
        "A loss is kept with its graph, so memory grows with every batch.",
        Remedy("Keep the number, not the tensor.", "total += loss.item()   # or loss.detach()"),
    ),
    Mistake(
        "softmax-before-cross-entropy",
        "BP402",
        "loop",
        "Cross-entropy is given probabilities, and takes the softmax of them once more.",
        Remedy("Give cross-entropy the logits.", "loss = F.cross_entropy(logits, targets)"),
    ),
    Mistake(
        "nll-without-log-softmax",
        "BP403",
        "loop",
        "The negative log-likelihood is given values that are not log-probabilities.",
        Remedy(
            "Take the log-softmax first, or use cross-entropy on the logits.",
            "loss = F.nll_loss(F.log_softmax(logits, dim=1), targets)",
        ),
    ),
    Mistake(
        "evaluation-in-train-mode",
        "BP404",
        "loop",
        "The model is evaluated in training mode.",
        Remedy(
            "Call eval() before the evaluation and train() after it.",
            "model.eval()\n...\nmodel.train()",
        ),
    ),
    Mistake(
        "evaluation-with-grad",
        "BP405",
        "loop",
        "The evaluation records a graph that nobody uses.",
        Remedy("Evaluate under no_grad or inference_mode.", "with torch.no_grad():\n    ..."),
    ),
    Mistake(
        "scheduler-before-optimizer",
        "BP406",
        "loop",
        "The schedule steps before the optimiser, so its first learning rate is skipped.",
        Remedy("Step the optimiser first.", "optimizer.step()\nscheduler.step()"),
    ),
)


_NATURE = (
    Mistake(
        "batch-norm",
        "BP501",
        "nature",
        "Each sample is normalised by the others of its micro-batch.",
        Remedy(
            "Use a normalisation that looks at one sample at a time, or freeze the statistics.",
            "model.norm = nn.GroupNorm(groups, channels)   # not nn.BatchNorm2d(...)",
        ),
        Remedy("Put the model on its running statistics before it is evaluated.", "model.eval()"),
    ),
    Mistake(
        "random-draws",
        "BP502",
        "nature",
        "Another cut draws other random numbers.",
        Remedy(
            "Draw from a generator that is seeded, and per sample, or leave the draws out of "
            "what is compared."
        ),
        Remedy(
            "Draw from a generator that is seeded, and per sample, or leave the draws out of "
            "what is compared.",
            _METER,
        ),
    ),
    Mistake(
        "coupled-samples",
        "BP503",
        "nature",
        "The loss of a sample depends on the other samples of its batch.",
        Remedy(
            "Choose the batch that the loss is defined on, and keep it whole: gather it over "
            "micro-batches and ranks before the loss."
        ),
        Remedy(
            "Keep what the number is made of (sums, counts, scores) over all batches, and "
            "compute it from them once, at the end."
        ),
    ),
    Mistake(
        "leaking-state",
        "BP504",
        "nature",
        "Something outlives the step and changes the next one.",
        Remedy(
            "Reset what is kept between calls at the start of a step, gradients included.",
            "optimizer.zero_grad(set_to_none=True)",
        ),
        Remedy("Reset what is kept between calls before an evaluation begins."),
    ),
    Mistake(
        "unknown",
        "BP505",
        "nature",
        "It depends on the cut, and nothing known predicts how.",
        Remedy("Look at the numbers under each cut."),
        Remedy("Look at the numbers under each cut.", _METER),
    ),
)


CATALOGUE: dict[str, Mistake] = {
    mistake.name: mistake
    for group in (_GRADIENT, _NUMBER, _MODEL, _LOOP, _NATURE)
    for mistake in group
}


def mistake(name: str) -> Mistake:
    """Return the mistake of a name.

    Args:
        name: such as "not-divided".

    Raises:
        SettingError: if there is none; it lists the nearest names.

    Examples:
        >>> mistake("graph-kept").code
        'BP401'
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    near = get_close_matches(name, CATALOGUE, n=3) or sorted(CATALOGUE)
    raise SettingError(f"no mistake is called {name!r}; the nearest names are {', '.join(near)}.")
