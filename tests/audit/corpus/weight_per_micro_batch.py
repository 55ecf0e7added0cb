"""Class-weighted means under gradient accumulation."""

import torch
import torch.nn.functional as F
from torch import nn


def finds_a_weighted_criterion(model, train_loader, optimizer, weights, k):
    criterion = nn.CrossEntropyLoss(weight=weights)
    for i, (x, y) in enumerate(train_loader):
        loss = criterion(model(x), y) / k
        loss.backward()  # BP111
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_a_weight_by_position(model, train_loader, optimizer, weights, k):
    criterion = nn.CrossEntropyLoss(weights)
    for i, (x, y) in enumerate(train_loader):
        loss = criterion(model(x), y) / k
        loss.backward()  # BP111
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_a_function(model, train_loader, optimizer, weights, k):
    for i, (x, y) in enumerate(train_loader):
        loss = F.cross_entropy(model(x), y, weight=weights)
        (loss / k).backward()  # BP111
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_a_function_by_position(model, train_loader, optimizer, weights, k):
    for i, (x, y) in enumerate(train_loader):
        loss = F.cross_entropy(model(x), y, weights) / k
        loss.backward()  # BP111
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_a_negative_log_likelihood(model, train_loader, optimizer, weights, k):
    criterion = nn.NLLLoss(weight=weights)
    for i, (x, y) in enumerate(train_loader):
        loss = criterion(F.log_softmax(model(x), dim=1), y) / k
        loss.backward()  # BP111
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_a_loop_over_micro_batches(model, get_batch, optimizer, weights, k):
    criterion = nn.CrossEntropyLoss(weight=weights)
    for _ in range(1000):
        for _ in range(k):
            x, y = get_batch("train")
            loss = criterion(model(x), y) / k
            loss.backward()  # BP111
        optimizer.step()
        optimizer.zero_grad()


def finds_windows_without_a_division(model, train_loader, optimizer, weights, k):
    criterion = nn.CrossEntropyLoss(weight=weights)
    for i, (x, y) in enumerate(train_loader):
        loss = criterion(model(x), y)
        loss.backward()  # BP111, BP105 likely
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_a_scaler(model, train_loader, optimizer, weights, k):
    criterion = nn.CrossEntropyLoss(weight=weights)
    scaler = torch.amp.GradScaler("cuda")
    for i, (x, y) in enumerate(train_loader):
        loss = criterion(model(x), y) / k
        scaler.scale(loss).backward()  # BP111
        if (i + 1) % k == 0:  # BP103
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()


def passes_no_weight(model, train_loader, optimizer, k):
    criterion = nn.CrossEntropyLoss()
    for i, (x, y) in enumerate(train_loader):
        loss = criterion(model(x), y) / k
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_none(model, train_loader, optimizer, k):
    criterion = nn.CrossEntropyLoss(weight=None)
    for i, (x, y) in enumerate(train_loader):
        loss = criterion(model(x), y) / k
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_no_accumulation(model, train_loader, optimizer, weights):
    criterion = nn.CrossEntropyLoss(weight=weights)
    for x, y in train_loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()


def passes_a_sum(model, get_batch, optimizer, weights, k):
    for _ in range(1000):
        batches = [get_batch("train") for _ in range(k)]
        total = sum(weights[y].sum() for _, y in batches)
        for x, y in batches:
            loss = F.cross_entropy(model(x), y, weight=weights, reduction="sum") / total
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def passes_a_weight_of_elements(model, train_loader, optimizer, weights, k):
    criterion = nn.BCEWithLogitsLoss(pos_weight=weights)
    for i, (x, y) in enumerate(train_loader):
        loss = criterion(model(x), y) / k
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


@torch.no_grad()
def passes_an_evaluation(model, loader, weights):
    criterion = nn.CrossEntropyLoss(weight=weights, reduction="sum")
    total, weight = 0.0, 0.0
    for x, y in loader:
        total += criterion(model(x), y).item()
        weight += weights[y].sum().item()
    return total / weight


def passes_label_smoothing(model, train_loader, optimizer, k):
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    for i, (x, y) in enumerate(train_loader):
        loss = criterion(model(x), y) / k
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_elements(model, get_batch, optimizer, weights, k):
    for _ in range(1000):
        for _ in range(k):
            x, y = get_batch("train")
            losses = F.cross_entropy(model(x), y, weight=weights, reduction="none")
            (losses.mean() / k).backward()
        optimizer.step()
        optimizer.zero_grad()


def misses_weights_of_its_own(model, get_batch, optimizer, weights, k):
    for _ in range(1000):
        for _ in range(k):
            x, y = get_batch("train")
            losses = F.cross_entropy(model(x), y, reduction="none")
            loss = (losses * weights[y]).sum() / weights[y].sum() / k
            loss.backward()  # missed BP111
        optimizer.step()
        optimizer.zero_grad()


def misses_a_criterion_out_of_sight(model, get_batch, optimizer, weighted, k):
    for _ in range(1000):
        for _ in range(k):
            x, y = get_batch("train")
            (weighted(model(x), y) / k).backward()  # missed BP111
        optimizer.step()
        optimizer.zero_grad()
