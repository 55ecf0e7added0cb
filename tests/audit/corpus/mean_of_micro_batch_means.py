"""Token means of micro-batches, each divided by their number."""

import math

import torch
import torch.nn.functional as F
from torch import nn


def finds_ignored_padding(model, get_batch, optimizer, k, pad_id):
    for _ in range(1000):
        for _ in range(k):
            x, y = get_batch("train")
            loss = F.cross_entropy(model(x), y, ignore_index=pad_id) / k
            loss.backward()  # BP101
        optimizer.step()
        optimizer.zero_grad()


def finds_a_token_that_is_padding(model, get_batch, optimizer, k):
    for _ in range(1000):
        for _ in range(k):
            x, y = get_batch("train")
            loss = F.cross_entropy(model(x), y, ignore_index=0)
            (loss / k).backward()  # BP101
        optimizer.step()
        optimizer.zero_grad()


def finds_a_criterion(model, get_batch, optimizer, k, tokenizer):
    criterion = nn.CrossEntropyLoss(ignore_index=tokenizer.pad_token_id)
    for _ in range(1000):
        for _ in range(k):
            x, y = get_batch("train")
            loss = criterion(model(x), y) / k
            loss.backward()  # BP101
        optimizer.step()
        optimizer.zero_grad()


def finds_windows_of_a_loader(model, train_loader, optimizer, k):
    criterion = nn.NLLLoss(ignore_index=0)
    for i, (x, y) in enumerate(train_loader):
        loss = criterion(F.log_softmax(model(x), -1), y)
        loss = loss / k
        loss.backward()  # BP101
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_a_mean_over_unmasked_tokens(model, get_batch, optimizer, k):
    for _ in range(1000):
        for _ in range(k):
            x, y = get_batch("train")
            losses = F.cross_entropy(model(x), y, reduction="none")
            valid = y != 0
            loss = (losses * valid).sum() / valid.sum()  # BP109 likely
            (loss / k).backward()  # BP101
        optimizer.step()
        optimizer.zero_grad()


def finds_a_clamped_mean(model, get_batch, optimizer, k):
    for _ in range(1000):
        for _ in range(k):
            x, y = get_batch("train")
            valid = y != 0
            losses = F.cross_entropy(model(x), y, reduction="none") * valid
            loss = losses.sum() / valid.sum().clamp(min=1)
            (loss / k).backward()  # BP101
        optimizer.step()
        optimizer.zero_grad()


def finds_a_scaler(model, get_batch, optimizer, k, pad):
    scaler = torch.amp.GradScaler("cuda")
    for _ in range(1000):
        for _ in range(k):
            x, y = get_batch("train")
            loss = F.cross_entropy(model(x), y, ignore_index=pad) / k
            scaler.scale(loss).backward()  # BP101
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()


def finds_the_loss_of_a_language_model(model, train_loader, optimizer, accumulation_steps):
    for i, batch in enumerate(train_loader):
        outputs = model(**batch)
        loss = outputs.loss / accumulation_steps
        loss.backward()  # BP101 likely
        if (i + 1) % accumulation_steps == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_blocks_of_tokens(model, get_batch, optimizer, k):
    for _ in range(1000):
        for _ in range(k):
            x, y = get_batch("train")
            loss = F.cross_entropy(model(x), y) / k
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def passes_a_division_by_all_tokens(model, get_batch, optimizer, k, pad):
    for _ in range(1000):
        batches = [get_batch("train") for _ in range(k)]
        tokens = sum((y != pad).sum() for _, y in batches)
        for x, y in batches:
            total = F.cross_entropy(model(x), y, ignore_index=pad, reduction="sum")
            (total / tokens).backward()
        optimizer.step()
        optimizer.zero_grad()


def passes_no_accumulation(model, train_loader, optimizer, pad):
    for x, y in train_loader:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y, ignore_index=pad).backward()
        optimizer.step()


def passes_the_default_of_ignore_index(model, get_batch, optimizer, k):
    for _ in range(1000):
        for _ in range(k):
            x, y = get_batch("train")
            loss = F.cross_entropy(model(x), y, ignore_index=-100) / k
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def passes_a_regression(model, get_batch, optimizer, k):
    for _ in range(1000):
        for _ in range(k):
            x, y = get_batch("train")
            (F.mse_loss(model(x), y) / k).backward()
        optimizer.step()
        optimizer.zero_grad()


def passes_a_temperature(model, train_loader, optimizer, pad, temperature):
    for x, y in train_loader:
        optimizer.zero_grad()
        (F.cross_entropy(model(x), y, ignore_index=pad) / temperature).backward()
        optimizer.step()


def passes_one_graph(model, get_batch, optimizer, k):
    for _ in range(1000):
        losses = []
        for _ in range(k):
            x, y = get_batch("train")
            losses.append(F.mse_loss(model(x), y))
        torch.stack(losses).mean().backward()
        optimizer.step()
        optimizer.zero_grad()


@torch.no_grad()
def passes_an_evaluation(model, get_batch, k, pad):
    total = 0.0
    for _ in range(k):
        x, y = get_batch("val")
        total += F.cross_entropy(model(x), y, ignore_index=pad).item()
    return total


def misses_a_loss_of_the_model(model, get_batch, optimizer, k):
    for _ in range(1000):
        for _ in range(k):
            x, y = get_batch("train")
            loss = model(x, y) / k
            loss.backward()  # missed BP101
        optimizer.step()
        optimizer.zero_grad()


def misses_samples_of_other_lengths(model, batches, optimizer, k):
    for batch in batches:
        for x, y in batch:
            (F.mse_loss(model(x), y) / k).backward()  # missed BP101
        optimizer.step()
        optimizer.zero_grad()


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 100)

    def forward(self, source, target=None):
        if target is None:
            return self.generate(source)
        scores = self.head(source)
        counted_loss = target[:, 1:].ne(1).view(-1)
        shifted = scores[:, :-1].reshape(-1, 100)
        loss = nn.CrossEntropyLoss()(shifted[counted_loss], target[:, 1:].flatten()[counted_loss])
        return loss, loss * counted_loss.sum()

    def generate(self, source):
        return torch.cat([self.head(row) for row in source])


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 100)

    def forward(self, source, target=None):
        if target is None:
            return self.head(source)
        return nn.CrossEntropyLoss()(self.head(source), target), self.head(source)


def finds_elements_that_a_mask_picks(train_loader, k):
    model = Decoder()
    optimizer = torch.optim.Adam(model.parameters())
    for i, (source, target) in enumerate(train_loader):
        loss, _ = model(source, target)
        loss = loss / k
        loss.backward()  # BP101
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_a_mean_over_samples_of_a_model_in_sight(train_loader, k):
    model = Classifier()
    optimizer = torch.optim.Adam(model.parameters())
    for i, (source, target) in enumerate(train_loader):
        loss, _ = model(source, target)
        loss = loss / k
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_slices_of_a_batch(model, loader, optimizer, size):
    for x, y in loader:
        optimizer.zero_grad()
        for i in range(0, len(x), size):
            loss = F.mse_loss(model(x[i : i + size]), y[i : i + size])
            loss.div_(math.ceil(len(x) / size))
            loss.backward()  # BP101
        optimizer.step()


def passes_slices_of_a_batch_that_are_summed(model, loader, optimizer, size):
    for x, y in loader:
        optimizer.zero_grad()
        for i in range(0, len(x), size):
            loss = F.mse_loss(model(x[i : i + size]), y[i : i + size], reduction="sum")
            (loss / len(x)).backward()
        optimizer.step()


def finds_the_mean_of_what_a_mask_picks(model, loader, optimizer, k):
    for i, (x, y) in enumerate(loader):
        losses = F.cross_entropy(model(x), y, reduction="none")
        loss = losses[y > 0].mean() / k
        loss.backward()  # BP101
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_targets_of_a_class_that_is_ignored(model, loader, optimizer, k, config):
    criterion = nn.CrossEntropyLoss(ignore_index=config.ignore_label)
    for i, (x, y) in enumerate(loader):
        loss = criterion(model(x), y) / k
        loss.backward()  # BP101
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
