"""Evaluations of a model that was put in training mode before."""

import numpy as np
import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import nn


def finds_an_evaluation_after_training(model, train_loader, val_loader, optimizer):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    correct = 0
    with torch.no_grad():
        for x, y in val_loader:
            correct += (model(x).argmax(1) == y).sum().item()  # BP404
    return correct


def finds_it_in_every_epoch(model, train_loader, val_loader, optimizer):
    for _ in range(10):
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
        with torch.no_grad():
            total = 0.0
            for x, y in val_loader:
                total += F.mse_loss(model(x), y, reduction="sum").item()  # BP404
        print(total / len(val_loader.dataset))


@torch.no_grad()
def finds_train_where_eval_was_meant(model, test_loader):
    model.train()
    total = 0.0
    for x, y in test_loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()  # BP404
    return total / len(test_loader.dataset)


def finds_inference_mode(model, loader):
    model.train()
    right = 0
    with torch.inference_mode():
        for x, y in loader:
            output = model(x)  # BP404
            right += (output.argmax(1) == y).sum().item()
    return right


def finds_train_true(model, loader):
    model.train(True)
    right = 0
    with torch.no_grad():
        for x, y in loader:
            right += (model(x).argmax(1) == y).sum().item()  # BP404
    return right


def finds_eval_only_before_training(model, train_loader, val_loader, optimizer):
    model.eval()
    print(model)
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
    right = 0
    with torch.no_grad():
        for x, y in val_loader:
            right += (model(x).argmax(1) == y).sum().item()  # BP404
    return right


class Finds:
    def __init__(self, model, optimizer):
        self.model, self.optimizer = model, optimizer

    def finds_in_a_method(self, loader):
        self.model.train()
        right = 0
        with torch.no_grad():
            for x, y in loader:
                right += (self.model(x).argmax(1) == y).sum().item()  # BP404
        return right


def finds_a_helper(model, train_loader, val_loader, optimizer):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
    return _evaluate(model, val_loader)


def _evaluate(model, loader):
    total = 0.0
    with torch.no_grad():
        for x, y in loader:
            total += F.mse_loss(model(x), y, reduction="sum").item()  # BP404
    return total / len(loader.dataset)


def finds_outputs_that_are_kept(net, loader):
    net.train()
    outputs = []
    with torch.no_grad():
        for x, _ in loader:
            outputs.append(net(x))  # BP404
    return torch.cat(outputs)


def passes_eval(model, train_loader, val_loader, optimizer):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    model.eval()
    right = 0
    with torch.no_grad():
        for x, y in val_loader:
            right += (model(x).argmax(1) == y).sum().item()
    return right


def passes_train_false(model, loader):
    model.train(False)
    right = 0
    with torch.no_grad():
        for x, y in loader:
            right += (model(x).argmax(1) == y).sum().item()
    return right


def passes_a_mode_out_of_sight(model, loader):
    right = 0
    with torch.no_grad():
        for x, y in loader:
            right += (model(x).argmax(1) == y).sum().item()
    return right


def passes_a_switch(model, loader, training):
    model.train(training)
    right = 0
    with torch.no_grad():
        for x, y in loader:
            right += (model(x).argmax(1) == y).sum().item()
    return right


def passes_another_model(student, teacher, loader, optimizer):
    teacher.eval()
    student.train()
    for x, _ in loader:
        with torch.no_grad():
            soft = teacher(x)
        optimizer.zero_grad()
        F.mse_loss(student(x), soft).backward()
        optimizer.step()


def passes_a_helper_that_switches(model, loader):
    from tools import set_evaluation_mode

    model.train()
    set_evaluation_mode(model)
    right = 0
    with torch.no_grad():
        for x, y in loader:
            right += (model(x).argmax(1) == y).sum().item()
    return right


def passes_statistics_of_batch_norm_updated_on_purpose(model, loader, optimizer):
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()


def passes_a_training_step_whose_number_is_kept(model, loader, optimizer):
    model.train()
    total = 0.0
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y, reduction="sum")
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            total += loss.item()
    return total


def finds_a_loop_over_slices(model, xs, ys):
    model.train()
    right = 0
    with torch.no_grad():
        for i in range(0, len(xs), 32):
            output = model(xs[i : i + 32])  # BP404
            right += (output.argmax(1) == ys[i : i + 32]).sum().item()
    return right


def misses_samples_drawn_one_by_one(model, xs, ys, draw):
    model.train()
    right = 0
    with torch.no_grad():
        while len(xs) > right:
            x, y = draw(xs, ys)
            right += (model(x).argmax(1) == y).sum().item()  # missed BP404
    return right


def misses_one_large_batch(model, x, y):
    model.train()
    with torch.no_grad():
        return F.mse_loss(model(x), y).item()  # missed BP404


@torch.no_grad()
def passes_modes_of_the_other_branch(model, loader):
    right = 0
    for x, y in loader:
        if isinstance(model, torch.nn.Module):
            model.eval()
            right += (model(x).argmax(1) == y).sum().item()
            model.train()
        else:
            right += (model(x).argmax(1) == y).sum().item()
    return right


def passes_a_model_without_a_mode(loader, optimizer):
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    model.train()
    right = 0
    with torch.no_grad():
        for x, y in loader:
            right += (model(x).argmax(1) == y).sum().item()
    return right


def passes_a_detector_that_returns_losses(model, loader):
    model.train()
    total = []
    with torch.no_grad():
        for images, targets in loader:
            losses = model(images, targets)
            total.append(losses)
    return total


def passes_losses_of_a_validation_without_dropout(loader, optimizer):
    model = nn.Linear(8, 2)
    for x, y in loader:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    with torch.no_grad():
        return [F.cross_entropy(model(x), y).item() for x, y in loader]


@torch.no_grad()
def passes_the_mode_in_which_a_detector_gives_its_losses(model, val_loader):
    losses = []
    for x, y in val_loader:
        model.train()
        losses.append(sum(model(x, y).values()).item())
        model.eval()
        print(model(x))
    return losses


def finds_one_of_two_modules(encoder, decoder, train_loader, val_loader, optimizer):
    encoder.train()
    decoder.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        F.cross_entropy(decoder(encoder(x)), y).backward()
        optimizer.step()
    decoder.eval()
    right = 0
    with torch.no_grad():
        for x, y in val_loader:
            right += (decoder(encoder(x)).argmax(1) == y).sum().item()  # BP404
    return right / len(val_loader.dataset)


def passes_a_part_of_the_module(encoder, make, train_loader, val_loader, optimizer):
    model = make(encoder)
    encoder.train()
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    model.eval()
    right = 0
    with torch.no_grad():
        for x, y in val_loader:
            right += (model.head(encoder(x)).argmax(1) == y).sum().item()
    return right / len(val_loader.dataset)


def passes_both_modules(encoder, decoder, train_loader, val_loader, optimizer):
    encoder.train()
    decoder.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        F.cross_entropy(decoder(encoder(x)), y).backward()
        optimizer.step()
    encoder.eval()
    decoder.eval()
    right = 0
    with torch.no_grad():
        for x, y in val_loader:
            right += (decoder(encoder(x)).argmax(1) == y).sum().item()
    return right / len(val_loader.dataset)


def finds_numbers_of_held_out_data(model, train_loader, val_loader, optimizer):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    right = 0
    for x, y in val_loader:
        scores = model(x).cpu().data.numpy()  # BP404, BP405
        right += np.count_nonzero(np.argmax(scores, axis=1) == y.numpy())
    return right / len(val_loader.dataset)


def passes_held_out_data_that_is_trained_on(model, val_loader, optimizer):
    model.train()
    total = 0.0
    for x, y in val_loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y, reduction="sum")
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(val_loader.dataset)


class Trainer:
    def finds_a_validation_inside_training(self, epochs):
        for _ in range(epochs):
            self.model.train()
            self._train_epoch()

    def _train_epoch(self):
        for i, (x, y) in enumerate(self.trainloader):
            self.optimizer.zero_grad()
            F.mse_loss(self.model(x), y).backward()
            self.optimizer.step()
            if i % 100 == 0:
                self._validate()

    def _validate(self):
        losses = []
        for x, y in self.valloader:
            losses.append(F.mse_loss(self.model(x), y).item())  # BP404, BP405
        return losses


def _scores(model, test_loader, train):
    if train:
        model.train()
    else:
        model.eval()
    correct = 0
    with torch.no_grad():
        for x, y in test_loader:
            correct += (model(x).argmax(1) == y).sum().item()
    return correct


def passes_a_mode_that_an_argument_asks_for(model, test_loader):
    return _scores(model, test_loader, train=False), _scores(model, test_loader, train=True)


class _Net(nn.Module):
    def __init__(self, dropout=0.1):
        super().__init__()
        self.cell = nn.LSTM(8, 8, num_layers=2, dropout=dropout)
        self.out = nn.Linear(8, 2)

    def forward(self, x):
        return self.out(self.cell(x)[0])


def _right(net, loader):
    right = 0
    with torch.no_grad():
        for x, y in loader:
            right += (net(x).argmax(1) == y).sum().item()
    return right


class _Glimpse(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(8, 8)

    def forward(self, x):
        return F.relu(self.out(x))


class _Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.glimpse = _Glimpse()
        self.out = nn.Linear(8, 2)

    def forward(self, x):
        return self.out(self.glimpse(x))


def passes_a_model_of_layers_without_modes(loader):
    net = _Plain()
    net.train()
    print(_right(net, loader))


def finds_a_model_of_layers_with_modes(loader):
    net = _Net()
    net.train()
    print(_wrong(net, loader))


def _wrong(net, loader):
    right = 0
    with torch.no_grad():
        for x, y in loader:
            right += (net(x).argmax(1) == y).sum().item()  # BP404
    return right


def finds_a_model_that_functions_only_read(model, watch, train_loader, val_loader, optimizer):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    parts = []
    if isinstance(model, nn.DataParallel) or hasattr(model, "module"):
        parts.append(model)
    right = 0
    with torch.no_grad():
        for x, y in val_loader:
            right += (model(x).argmax(1) == y).sum().item()  # BP404
    return right


def passes_a_model_that_a_function_may_switch(model, prepare, train_loader, val_loader, optimizer):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    prepare(model)
    right = 0
    with torch.no_grad():
        for x, y in val_loader:
            right += (model(x).argmax(1) == y).sum().item()
    return right


class _Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))

    def forward(self, x):
        return self.layers(x)


class _Large(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 64), nn.BatchNorm1d(64), nn.Linear(64, 2))

    def forward(self, x):
        return self.layers(x)


class _Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        return self.layer(x)


def _chosen_scores(size, val_loader):
    model = _Small()
    if size == "large":
        model = _Large()
    model.train()
    right = 0
    with torch.no_grad():
        for x, y in val_loader:
            right += (model(x).argmax(1) == y).sum().item()  # BP404
    return right


def finds_one_of_two_models(size, val_loader):
    print(_chosen_scores(size, val_loader))


def passes_a_plain_model_that_is_trained_on(train_loader, val_loader):
    model = _Plain()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        for x, y in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        model.eval()
        right = 0
        with torch.no_grad():
            for x, y in val_loader:
                right += (model(x).argmax(1) == y).sum().item()
        print(right)


def finds_what_is_read_of_a_model(model, val_loader, levels_of):
    model.train()
    right = 0
    print(levels_of(model.classes))
    with torch.no_grad():
        for x, y in val_loader:
            right += (model(x).argmax(1) == y).sum().item()  # BP404
    return right


@torch.no_grad()
def passes_the_calibration_of_batch_statistics(model, train_loader):
    def calibrate_bn():
        model.train()
        right = 0
        for x, y in train_loader:
            right += (model(x).argmax(1) == y).sum().item()
        return right

    return calibrate_bn()


class _Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))

    def forward(self, x):
        return self.layers(x)


class _OfLightning(LightningModule):
    def __init__(self):
        super().__init__()
        self.head = _Head()

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self.head(x), y)
        loss.backward()
        return loss

    @torch.no_grad()
    def validation_step(self, batch, batch_idx):  # whose Trainer switches the module
        x, y = batch
        self.log("hits", (self.head(x).argmax(1) == y).sum(), batch_size=len(y))


class _Checked(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        if len(sizes) < 2:
            raise RuntimeError("two sizes at least")
        self.first = nn.Linear(sizes[0], sizes[1])

    def forward(self, x):
        return self.first(x)


def passes_a_plain_model_that_checks_its_sizes(train_loader, val_loader):
    model = _Checked((8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        for x, y in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        model.eval()
        right = 0
        with torch.no_grad():
            for x, y in val_loader:
                right += (model(x).argmax(1) == y).sum().item()
        print(right)


def finds_a_test_set_at_once(x_train, y_train, x_test, y_test):
    net = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(net.parameters())
    for _ in range(100):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x_train), y_train)
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        scores = net(torch.as_tensor(x_test).float())  # BP404
    print((scores.argmax(1) == y_test).float().mean())


def finds_a_test_set_between_steps(x_train, y_train, x_test, y_test):
    net = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(net.parameters())
    for step in range(100):
        optimizer.zero_grad()
        F.cross_entropy(net(x_train), y_train).backward()
        optimizer.step()
        if step % 10 == 0:
            with torch.no_grad():
                print(F.cross_entropy(net(x_test), y_test).item())  # BP404


def passes_a_test_set_whose_mode_is_set(x_train, y_train, x_test, y_test):
    net = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(net.parameters())
    for step in range(100):
        net.train()
        optimizer.zero_grad()
        F.cross_entropy(net(x_train), y_train).backward()
        optimizer.step()
        net.eval()
        if step % 10 == 0:
            with torch.no_grad():
                print(F.cross_entropy(net(x_test), y_test).item())


def passes_a_test_set_of_a_plain_model(x_train, y_train, x_test, y_test):
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(net.parameters())
    for _ in range(100):
        optimizer.zero_grad()
        F.cross_entropy(net(x_train), y_train).backward()
        optimizer.step()
    with torch.no_grad():
        print(F.cross_entropy(net(x_test), y_test).item())


def finds_a_model_that_its_own_function_makes(train_loader, test_loader):
    net = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(net.parameters())
    for x, y in train_loader:
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    with torch.no_grad():
        for x, y in test_loader:
            print((net(x).argmax(1) == y).sum().item())  # BP404


def passes_a_model_that_its_function_hands_on(train_loader, test_loader, prepare):
    net = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(net.parameters())
    for x, y in train_loader:
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    prepare(net)
    with torch.no_grad():
        for x, y in test_loader:
            print((net(x).argmax(1) == y).sum().item())
