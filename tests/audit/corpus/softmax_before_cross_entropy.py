"""Probabilities where cross-entropy takes logits."""

import torch
import torch.nn.functional as F
from torch import nn


class WithSoftmax(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(10, 3)

    def forward(self, x):
        return F.softmax(self.fc(x), dim=1)


class WithSoftmaxLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(10, 3), nn.Softmax(dim=1))

    def forward(self, x):
        return self.net(x)


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(10, 3)

    def forward(self, x):
        return self.fc(x)


class AttentionInside(nn.Module):
    def __init__(self):
        super().__init__()
        self.score, self.fc = nn.Linear(10, 1), nn.Linear(10, 3)

    def forward(self, x):
        weight = F.softmax(self.score(x), dim=1)
        return self.fc((weight * x).sum(1))


def finds_a_function(model, x, y):
    return F.cross_entropy(F.softmax(model(x), dim=1), y)  # BP402


def finds_a_name(model, x, y):
    probabilities = torch.softmax(model(x), dim=-1)
    return F.cross_entropy(probabilities, y)  # BP402


def finds_a_method(model, x, y):
    output = model(x).softmax(dim=1)
    criterion = nn.CrossEntropyLoss()
    return criterion(output, y)  # BP402


def finds_a_layer(model, x, y):
    normalise = nn.Softmax(dim=1)
    criterion = nn.CrossEntropyLoss()
    return criterion(normalise(model(x)), y)  # BP402


def finds_a_model_that_ends_in_softmax(x, y):
    model = WithSoftmax()
    criterion = nn.CrossEntropyLoss()
    return criterion(model(x), y)  # BP402


def finds_a_model_on_a_device(x, y, device):
    model = WithSoftmax().to(device)
    criterion = nn.CrossEntropyLoss().to(device)
    return criterion(model(x), y)  # BP402


def finds_a_sequential_that_ends_in_softmax(x, y):
    model = WithSoftmaxLayer()
    return F.cross_entropy(model(x), y)  # BP402


def finds_a_sequential_on_the_spot(loader, optimizer):
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3), nn.Softmax(1))
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)  # BP402
        loss.backward()
        optimizer.step()


def finds_what_was_reshaped_since(model, x, y):
    probabilities = F.softmax(model(x), dim=-1).view(-1, 3)
    return F.cross_entropy(probabilities, y.view(-1))  # BP402


def finds_keywords(model, x, y):
    return F.cross_entropy(F.softmax(input=model(x), dim=1), target=y)  # BP402


def passes_logits(model, x, y):
    return F.cross_entropy(model(x), y)


def passes_a_softmax_for_the_accuracy(model, x, y):
    logits = model(x)
    loss = F.cross_entropy(logits, y)
    accuracy = (F.softmax(logits, dim=1).argmax(1) == y).float().mean()
    return loss, accuracy


def passes_a_plain_model(x, y):
    model = Plain()
    return nn.CrossEntropyLoss()(model(x), y)


def passes_attention(x, y):
    model = AttentionInside()
    return F.cross_entropy(model(x), y)


def passes_log_softmax_with_nll(model, x, y):
    return F.nll_loss(F.log_softmax(model(x), dim=1), y)


def passes_the_log_of_a_softmax(model, x, y):
    return F.nll_loss(torch.log(F.softmax(model(x), dim=1)), y)


def passes_a_softmax_as_the_target(student, teacher, x):
    with torch.no_grad():
        soft = F.softmax(teacher(x) / 2, dim=1)
    return F.cross_entropy(student(x) / 2, soft)


def passes_divergence(student, teacher, x):
    return F.kl_div(F.log_softmax(student(x), 1), F.softmax(teacher(x), 1), reduction="batchmean")


def passes_a_name_that_was_set_anew(model, x, y):
    output = F.softmax(model(x), dim=1)
    print(output.max())
    output = model(x)
    return F.cross_entropy(output, y)


def misses_a_model_of_another_package(x, y):
    from zoo import Classifier

    model = Classifier(softmax=True)
    return F.cross_entropy(model(x), y)  # missed BP402


def misses_a_softmax_by_hand(model, x, y):
    exp = model(x).exp()
    return F.cross_entropy(exp / exp.sum(1, keepdim=True), y)  # missed BP402


class ByAnOption(nn.Module):
    def __init__(self, kind, soft):
        super().__init__()
        self.kind, self.layer = kind, nn.Linear(3, 4)
        if kind == "soft":
            self.criterion = soft
        else:
            self.criterion = nn.CrossEntropyLoss()

    def passes_a_criterion_that_the_same_option_chooses(self, x, y):
        logits = self.layer(x)
        if self.kind == "soft":
            return self.criterion(F.softmax(logits, dim=1), y)
        return self.criterion(logits, y)


class WithSigmoid(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(10, 3)

    def forward(self, x):
        return torch.sigmoid(self.fc(x))


def finds_a_sigmoid(model, x, y):
    return F.cross_entropy(torch.sigmoid(model(x)), y)  # BP402


def finds_the_method_sigmoid(model, x, y):
    criterion = nn.CrossEntropyLoss()
    scores = model(x).sigmoid()
    return criterion(scores, y)  # BP402


def finds_a_model_that_ends_in_a_sigmoid(x, y):
    model = WithSigmoid()
    return nn.CrossEntropyLoss()(model(x), y)  # BP402


def finds_a_layer_of_sigmoids(x, y):
    model = nn.Sequential(nn.Linear(10, 3), nn.Sigmoid())
    return F.cross_entropy(model(x), y)  # BP402


def passes_a_sigmoid_that_is_scaled(model, x, y, temperature):
    cosine = torch.sigmoid(model(x)) * 20 - 10
    again = torch.sigmoid(model(x)).mul_(20)
    return F.cross_entropy(cosine, y) + F.cross_entropy(again / temperature, y)


def passes_a_softmax_that_is_scaled_in_place(model, x, y, temperature):
    scores = F.softmax(model(x), dim=1).mul_(temperature)
    cosine = torch.softmax(model(x), dim=1)
    cosine.mul_(20).sub_(10)
    return F.cross_entropy(scores, y) + F.cross_entropy(cosine, y)


def passes_a_sigmoid_inside(model, head, x, y):
    gate = torch.sigmoid(model(x))
    return F.cross_entropy(head(gate), y) + F.cross_entropy(head(x) * gate, y)


def passes_the_logarithm_of_a_sigmoid(model, x, y):
    return F.cross_entropy(torch.log(torch.sigmoid(model(x))), y)


def passes_a_sigmoid_for_the_hits(model, x, y):
    logits = model(x)
    hits = torch.sigmoid(logits) > 0.5
    return F.cross_entropy(logits, y), hits


def passes_a_sigmoid_with_binary_cross_entropy(model, x, y):
    return F.binary_cross_entropy(torch.sigmoid(model(x)), y)


def finds_a_sigmoid_before_logits(model, x, y):
    criterion = nn.BCEWithLogitsLoss()
    return criterion(torch.sigmoid(model(x)), y)  # BP402


def passes_a_sigmoid_before_probabilities(model, x, y):
    criterion = nn.BCELoss()
    return criterion(torch.sigmoid(model(x)), y)


class Synchronised(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, x):
        return F.softmax(self.layer(x), dim=-1)


def finds_a_model_whose_norms_are_synchronised(x, y):
    model = nn.SyncBatchNorm.convert_sync_batchnorm(Synchronised())
    model = nn.parallel.DistributedDataParallel(model)
    criterion = nn.CrossEntropyLoss()
    return criterion(model(x), y)  # BP402
