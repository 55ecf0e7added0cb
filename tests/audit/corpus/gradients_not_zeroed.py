"""Loops in which nothing zeroes the gradients."""

import torch
import torch.nn.functional as F
from torch import nn, optim


def finds_a_loop(model, loader):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    for x, y in loader:
        loss = F.mse_loss(model(x), y)
        loss.backward()  # BP115
        optimizer.step()


def finds_a_handed_optimizer(model, loader, optimizer):
    for x, y in loader:
        loss = F.cross_entropy(model(x), y)
        loss.backward()  # BP115
        optimizer.step()


def finds_epochs(model, loader):
    optimizer = optim.Adam(model.parameters())
    criterion = nn.MSELoss()
    for _ in range(10):
        for x, y in loader:
            criterion(model(x), y).backward()  # BP115
            optimizer.step()


def finds_full_batches(model, x, y):
    optimizer = optim.Adam(model.parameters())
    for _ in range(100):
        loss = F.mse_loss(model(x), y)
        loss.backward()  # BP115
        optimizer.step()


def finds_a_scaler(model, loader, optimizer):
    scaler = torch.amp.GradScaler("cuda")
    for x, y in loader:
        scaler.scale(F.mse_loss(model(x), y)).backward()  # BP115
        scaler.step(optimizer)
        scaler.update()


class Finds:
    def finds_in_a_class(self, loader):
        for x, y in loader:
            loss = F.mse_loss(self.model(x), y)
            loss.backward()  # BP115
            self.optimizer.step()


def finds_a_clip(model, loader, optimizer):
    for x, y in loader:
        loss = F.mse_loss(model(x), y)
        loss.backward()  # BP115
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def finds_a_schedule(model, loader):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = optim.lr_scheduler.StepLR(optimizer, 10)
    for x, y in loader:
        loss = F.mse_loss(model(x), y)
        loss.backward()  # BP115
        optimizer.step()
        scheduler.step()


def passes_before(model, loader, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()


def passes_after(model, loader, optimizer):
    for x, y in loader:
        F.mse_loss(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def passes_the_model(model, loader, optimizer):
    for x, y in loader:
        model.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()


def passes_none(model, loader, optimizer):
    for x, y in loader:
        for p in model.parameters():
            p.grad = None
        F.mse_loss(model(x), y).backward()
        optimizer.step()


def passes_zero_in_place(w, loader, optimizer):
    for x, y in loader:
        ((x @ w - y) ** 2).mean().backward()
        optimizer.step()
        w.grad.zero_()


def passes_a_helper_out_of_sight(model, loader, optimizer):
    from tools import reset_gradients

    for x, y in loader:
        reset_gradients(optimizer)
        F.mse_loss(model(x), y).backward()
        optimizer.step()


def passes_a_window(model, loader, optimizer):
    for i, (x, y) in enumerate(loader):
        F.mse_loss(model(x), y, reduction="sum").backward()
        if (i + 1) % 4 == 0 or i + 1 == len(loader):
            optimizer.step()
            optimizer.zero_grad()


def passes_one_step(model, x, y, optimizer):
    F.mse_loss(model(x), y).backward()
    optimizer.step()


def passes_a_closure(model, loader):
    optimizer = optim.LBFGS(model.parameters())
    for x, y in loader:

        def closure(x=x, y=y):
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            return loss

        optimizer.step(closure)


def passes_an_engine(engine, loader):
    for x, y in loader:
        loss = F.mse_loss(engine(x), y)
        engine.backward(loss)
        engine.step()


def misses_another_optimizer_that_is_zeroed(model, other, loader, first, second):
    for x, y in loader:
        second.zero_grad()
        F.mse_loss(other(x), y).backward()
        second.step()
        F.mse_loss(model(x), y).backward()  # missed BP115
        first.step()


def finds_one_call_before_the_loop(model, loader, optimizer):
    optimizer.zero_grad()
    for x, y in loader:
        F.mse_loss(model(x), y).backward()  # BP115
        optimizer.step()


def finds_a_call_for_each_epoch(model, loader, optimizer):
    for _ in range(10):
        optimizer.zero_grad()
        for x, y in loader:
            F.mse_loss(model(x), y).backward()  # BP115
            optimizer.step()


def finds_the_optimizer_of_another_module(loader):
    generator, critic = nn.Linear(3, 4), nn.Linear(4, 1)
    first = optim.Adam(generator.parameters())
    second = optim.Adam(critic.parameters())
    for x, noise in loader:
        second.zero_grad()
        (critic(generator(noise).detach()).mean() - critic(x).mean()).backward()
        second.step()
        (-critic(generator(noise)).mean()).backward()  # BP115
        first.step()


def passes_one_optimizer_of_all(loader):
    generator, critic = nn.Linear(3, 4), nn.Linear(4, 1)
    both = nn.ModuleList([generator, critic])
    first = optim.Adam(generator.parameters())
    whole = optim.Adam(both.parameters())
    for x, noise in loader:
        whole.zero_grad()
        (critic(generator(noise).detach()).mean() - critic(x).mean()).backward()
        whole.step()
        generator.zero_grad()
        (-critic(generator(noise)).mean()).backward()
        first.step()


def passes_a_loop_that_ends_with_its_step(model, loader, optimizer):
    optimizer.zero_grad()
    for x, y in loader:
        F.mse_loss(model(x), y).backward()
        optimizer.step()
        break


def passes_parts_of_one_batch(model, loader, optimizer, parts):
    for x, y in loader:
        optimizer.zero_grad()
        for part in parts:
            F.mse_loss(model(x[part]), y[part], reduction="sum").backward()
        optimizer.step()


def misses_a_call_in_the_wrong_branch(model, loader, optimizer, first):
    for x, y in loader:
        if first:
            optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()  # missed BP115
        optimizer.step()


def finds_gradients_that_are_only_read(model, loader, optimizer, writer):
    for step, (x, y) in enumerate(loader):
        loss = F.mse_loss(model(x), y)
        loss.backward()  # BP115
        optimizer.step()
        for name, p in model.named_parameters():
            writer.add_histogram(name, p.grad, step)


def finds_gradients_that_are_clamped(model, loader, optimizer):
    for x, y in loader:
        loss = F.mse_loss(model(x), y)
        loss.backward()  # BP115
        for p in model.parameters():
            p.grad.data.clamp_(-1, 1)
        optimizer.step()


def _forget(model):
    for p in model.parameters():
        p.grad = None


def passes_a_function_that_forgets(model, loader, optimizer):
    for x, y in loader:
        F.mse_loss(model(x), y).backward()
        optimizer.step()
        _forget(model)


def finds_a_method_that_is_not_called(model, loader, optimizer):
    for x, y in loader:
        optimizer.zero_grad  # noqa: B018
        loss = F.mse_loss(model(x), y)
        loss.backward()  # BP115
        optimizer.step()
