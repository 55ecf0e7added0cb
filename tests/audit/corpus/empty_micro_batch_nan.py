"""Sums of masked losses over a mask that may be empty."""

import torch
import torch.nn.functional as F


def finds_a_sum_of_the_mask(logits, target, pad):
    mask = target.to("cpu") != pad
    losses = F.cross_entropy(logits, target, reduction="none") * mask
    return losses.sum() / mask.sum()  # BP109 likely


def finds_a_comparison(model, loader, pad):
    for x, y in loader:
        mask = y != pad
        losses = F.cross_entropy(model(x), y, reduction="none") * mask
        (losses.sum() / mask.sum()).backward()  # BP109 likely


def finds_a_name_for_the_count(model, loader, pad):
    for x, y in loader:
        mask = y.ne(pad)
        count = mask.sum()
        losses = F.cross_entropy(model(x), y, reduction="none") * mask
        (losses.sum() / count).backward()  # BP109 likely


def finds_a_mask_as_numbers(model, loader):
    for x, y in loader:
        mask = (y > 0).float()
        losses = F.mse_loss(model(x), y, reduction="none") * mask
        loss = losses.sum() / mask.sum()  # BP109 likely
        loss.backward()


def finds_masked_fill(model, loader):
    for x, y in loader:
        valid = y >= 0
        losses = F.mse_loss(model(x), y, reduction="none").masked_fill(~valid, 0)
        loss = losses.sum() / valid.sum()  # BP109 likely
        loss.backward()


def finds_where(model, loader):
    for x, y in loader:
        valid = y >= 0
        losses = torch.where(valid, F.mse_loss(model(x), y, reduction="none"), 0.0)
        loss = losses.sum() / valid.sum()  # BP109 likely
        loss.backward()


def finds_a_negated_mask(model, loader):
    for x, y in loader:
        valid = ~(y == 0)
        losses = F.l1_loss(model(x), y, reduction="none") * valid
        loss = losses.sum() / valid.sum()  # BP109 likely
        loss.backward()


def finds_torch_sum(model, loader):
    for x, y in loader:
        valid = y != 0
        losses = F.l1_loss(model(x), y, reduction="none") * valid
        loss = torch.sum(losses) / torch.sum(valid)  # BP109 likely
        loss.backward()


@torch.no_grad()
def finds_an_evaluation(model, loader):
    for x, y in loader:
        valid = y != 0
        losses = F.l1_loss(model(x), y, reduction="none") * valid
        print(losses.sum() / valid.sum())  # BP109 likely


def passes_clamp(model, loader):
    for x, y in loader:
        valid = y != 0
        losses = F.l1_loss(model(x), y, reduction="none") * valid
        (losses.sum() / valid.sum().clamp(min=1)).backward()


def passes_max(model, loader):
    for x, y in loader:
        valid = y != 0
        losses = F.l1_loss(model(x), y, reduction="none") * valid
        (losses.sum() / max(valid.sum(), 1)).backward()


def passes_a_small_number(model, loader):
    for x, y in loader:
        valid = y != 0
        losses = F.l1_loss(model(x), y, reduction="none") * valid
        (losses.sum() / (valid.sum() + 1e-8)).backward()


def passes_eps(model, loader, eps):
    for x, y in loader:
        valid = y != 0
        losses = F.l1_loss(model(x), y, reduction="none") * valid
        (losses.sum() / (valid.sum() + eps)).backward()


def passes_a_test_of_the_mask(model, loader):
    for x, y in loader:
        valid = y != 0
        if not valid.any():
            continue
        losses = F.l1_loss(model(x), y, reduction="none") * valid
        (losses.sum() / valid.sum()).backward()


def passes_a_test_of_the_count(model, loader):
    for x, y in loader:
        valid = y != 0
        count = valid.sum()
        if count > 0:
            losses = F.l1_loss(model(x), y, reduction="none") * valid
            (losses.sum() / count).backward()


def passes_sums_kept_apart(model, loader):
    total, count = 0.0, 0
    for x, y in loader:
        valid = y != 0
        losses = F.l1_loss(model(x), y, reduction="none") * valid
        total += losses.sum().item()
        count += valid.sum().item()
    return total / count


def passes_a_batch(model, loader):
    for x, y in loader:
        losses = F.l1_loss(model(x), y, reduction="none")
        (losses.sum() / x.size(0)).backward()


def misses_a_selection(prediction, target, mask):
    return F.mse_loss(prediction[mask], target[mask])  # missed BP109


def misses_a_criterion_that_ignores_all(logits, target, pad):
    return F.cross_entropy(logits, target, ignore_index=pad)  # missed BP109
