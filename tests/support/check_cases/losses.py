"""Losses of a batch, each as a sum and a weight, or as a term of an objective."""

import torch
from torch.nn import functional as F

CLASS_WEIGHT = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)


def of_classes(model, batch):
    x, y = batch
    return F.cross_entropy(model(x), y, reduction="sum"), len(y)


def of_weighted_classes(model, batch):
    x, y = batch
    weight = CLASS_WEIGHT.to(x.dtype)
    return F.cross_entropy(model(x), y, weight, reduction="sum"), weight[y].sum()


def of_steps(model, batch):
    losses = F.cross_entropy(model(batch).transpose(1, 2), batch["y"], reduction="none")
    return torch.where(batch["mask"], losses, 0).sum(), batch["mask"].sum()


def of_padded_steps(model, batch):
    """Multiplies by the mask, and divides by every step."""
    total, _ = of_steps(model, batch)
    return total, batch["mask"].numel()


def of_all_steps(model, batch):
    """Never looks at the mask."""
    losses = F.cross_entropy(model(batch).transpose(1, 2), batch["y"], reduction="sum")
    return losses, batch["y"].numel()


def of_sequences(model, batch):
    """The mean over sequences of their means over steps."""
    losses = F.cross_entropy(model(batch).transpose(1, 2), batch["y"], reduction="none")
    count = batch["mask"].sum(1)
    means = torch.where(batch["mask"], losses, 0).sum(1) / count.clamp(min=1)
    return means.sum(), (count > 0).sum()


def of_sequence_sums(model, batch):
    total, _ = of_steps(model, batch)
    return total, batch["mask"].any(1).sum()


def of_last_states(model, batch):
    return F.cross_entropy(model(batch), batch["y"][:, 0], reduction="sum"), len(batch["y"])


def of_tokens(model, batch):
    logits, labels = model(batch["input"]), batch["labels"]
    return F.cross_entropy(logits.transpose(1, 2), labels, reduction="sum"), (labels != -100).sum()


def contrastive(model, batch):
    """Each sample against all others of its micro-batch."""
    z = F.normalize(model.body(batch[0]), dim=1)
    target = torch.arange(len(z))
    return F.cross_entropy(z @ (2 * z + 0.1).T, target, reduction="sum"), len(z)


def dice(model, batch):
    """One ratio for the whole micro-batch."""
    share = model(batch[0]).softmax(1)[:, 1]
    hit = (batch[1] == 1).to(share.dtype)
    return (1 - (2 * (share * hit).sum() + 1) / (share.sum() + hit.sum() + 1)) * len(hit), len(hit)


def root(model, batch):
    """The root of a mean is no mean."""
    total, weight = of_classes(model, batch)
    return (total / weight).sqrt() * weight, weight


def mean_of(loss, model, batch):
    total, weight = loss(model, batch)
    return total / weight


def of_other_head(model, batch):
    return (model.other(model.body(batch[0])) ** 2).mean()


def of_size(model, batch):
    return sum((p**2).sum() for p in model.body.parameters())


def of_confidence(model, batch):
    return model(batch[0]).logsumexp(1).pow(2).mean()


def of_smoothed_weights(model, batch):
    """Class weights and label smoothing together: one weighted mean, as torch makes it."""
    x, y = batch
    weight = CLASS_WEIGHT.to(x.dtype)
    losses = F.cross_entropy(model(x), y, weight, label_smoothing=0.2, reduction="sum")
    return losses, weight[y].sum()


def of_body(model, batch):
    return 0.1 * of_size(model, batch), 1


def against_data(model, batch):
    """Each sample against the data, not the outputs, of all others of its micro-batch."""
    x, _ = batch
    scores = model.body(x)[:, :4] @ x.T
    return F.cross_entropy(scores, torch.arange(len(x)), reduction="sum"), len(x)


def of_focal(model, batch):
    """Detection: everything over the number of hits, taken for 1 where there is none."""
    x, y = batch
    hit = (y != 0).to(x.dtype)
    losses = F.binary_cross_entropy_with_logits(model(x)[:, 0], hit, reduction="sum")
    return losses, hit.sum().clamp(min=1)


def of_hard(model, batch):
    """Samples that are hard count more."""
    losses = F.cross_entropy(model(batch[0]), batch[1], reduction="none")
    weight = losses.detach() ** 2
    return (weight * losses).sum(), weight.sum()


def of_smoothed_steps(model, batch):
    """Label smoothing by hand: padding is left out of one term, and counted in the other."""
    logs = model(batch).log_softmax(-1)
    losses = -logs.gather(-1, batch["y"][..., None])[..., 0]
    mask = batch["mask"]
    mean = torch.where(mask, losses, 0).sum() / mask.sum()
    return 0.9 * mean - 0.1 * logs.mean(), 1


def centred(model, batch):
    """Takes the micro-batch's mean from its inputs."""
    x, y = batch
    return F.cross_entropy(model(x - x.mean(0)), y, reduction="sum"), len(y)


def of_words(model, batch):
    """Token 0 is ignored."""
    logits, labels = model(batch["input"]), batch["labels"]
    losses = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=0, reduction="sum")
    return losses, (labels != 0).sum()


def of_z(model, batch):
    return 0.3 * model(batch[0]).logsumexp(1).pow(2).sum(), len(batch[0])


def of_other_classes(model, batch):
    """Another head, with class weights of its own."""
    x, y = batch
    scores = model.other(model.body(x)) * torch.tensor([1.0, 2.0, -1.0], dtype=x.dtype)
    weight = CLASS_WEIGHT.flip(0).to(x.dtype)
    return F.cross_entropy(scores, y, weight, reduction="sum"), weight[y].sum()


def of_starts(model, batch):
    """Over sequences, beside a loss over steps."""
    return model(batch)[:, 0].pow(2).mean(1).sum(), len(batch["x"])


def of_start_classes(model, batch):
    """Over sequences with class weights."""
    y = batch["y"][:, 0]
    weight = CLASS_WEIGHT.to(batch["x"].dtype)
    return F.cross_entropy(model(batch)[:, 0], y, weight, reduction="sum"), weight[y].sum()
