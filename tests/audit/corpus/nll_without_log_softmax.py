"""Values that are no log-probabilities where the negative log-likelihood takes them."""

import torch
import torch.nn.functional as F
from torch import nn


class Logits(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(10, 3)

    def forward(self, x):
        return self.fc(x)


class Probabilities(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(10, 3)

    def forward(self, x):
        return F.softmax(self.fc(x), dim=1)


class LogProbabilities(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(10, 3)

    def forward(self, x):
        return F.log_softmax(self.fc(x), dim=1)


def finds_a_softmax(model, x, y):
    return F.nll_loss(F.softmax(model(x), dim=1), y)  # BP403


def finds_a_softmax_by_name(model, x, y):
    p = torch.softmax(model(x), dim=1)
    return nn.NLLLoss()(p, y)  # BP403


def finds_a_linear_layer(x, y):
    model = Logits()
    criterion = nn.NLLLoss()
    return criterion(model(x), y)  # BP403


def finds_a_model_that_ends_in_softmax(x, y):
    model = Probabilities()
    return F.nll_loss(model(x), y)  # BP403


def finds_a_sequential(x, y):
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    return F.nll_loss(model(x), y)  # BP403


def finds_a_softmax_layer_at_the_end(x, y):
    model = nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1))
    criterion = nn.NLLLoss()
    return criterion(model(x), y)  # BP403


def finds_a_method(model, x, y):
    return F.nll_loss(model(x).softmax(1), y)  # BP403


def finds_a_loop(loader, optimizer):
    model = Logits()
    criterion = nn.NLLLoss()
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)  # BP403
        loss.backward()
        optimizer.step()


def passes_log_softmax(model, x, y):
    return F.nll_loss(F.log_softmax(model(x), dim=1), y)


def passes_a_model_that_ends_in_log_softmax(x, y):
    model = LogProbabilities()
    return nn.NLLLoss()(model(x), y)


def passes_a_sequential_with_log_softmax(x, y):
    model = nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(dim=1))
    return F.nll_loss(model(x), y)


def passes_the_log_of_probabilities(model, x, y):
    return F.nll_loss(torch.log(F.softmax(model(x), dim=1) + 1e-8), y)


def passes_a_method(model, x, y):
    return F.nll_loss(model(x).log_softmax(-1), y)


def passes_cross_entropy(x, y):
    model = Logits()
    return F.cross_entropy(model(x), y)


def passes_a_model_out_of_sight(model, x, y):
    return F.nll_loss(model(x), y)


def passes_a_log_of_clamped_probabilities(model, x, y):
    p = F.softmax(model(x), dim=1).clamp(min=1e-6)
    return F.nll_loss(p.log(), y)


def passes_a_name_that_was_set_anew(model, x, y):
    out = F.softmax(model(x), dim=1)
    out = F.log_softmax(model(x), dim=1)
    return F.nll_loss(out, y)


def misses_a_model_of_another_package(x, y):
    from zoo import Classifier

    return F.nll_loss(Classifier()(x), y)  # missed BP403


def misses_the_logarithm_to_another_base(model, x, y):
    return F.nll_loss(torch.log2(F.softmax(model(x), dim=1)), y)  # missed BP403
