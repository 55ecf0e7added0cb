"""Gradients zeroed between the backward pass and the step."""

import torch
import torch.nn.functional as F


def finds_it_between(model, loader, optimizer):
    for x, y in loader:
        F.mse_loss(model(x), y).backward()
        optimizer.zero_grad()  # BP116
        optimizer.step()


def finds_the_model(model, loader, optimizer):
    for x, y in loader:
        F.mse_loss(model(x), y).backward()
        model.zero_grad()  # BP116
        optimizer.step()


def finds_it_after_a_clip(model, loader, optimizer):
    for x, y in loader:
        F.mse_loss(model(x), y).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.zero_grad()  # BP116
        optimizer.step()


def finds_set_to_none(model, loader, optimizer):
    for x, y in loader:
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.zero_grad(set_to_none=True)  # BP116
        optimizer.step()


class Finds:
    def finds_in_a_class(self, loader):
        for x, y in loader:
            F.mse_loss(self.model(x), y).backward()
            self.optimizer.zero_grad()  # BP116
            self.optimizer.step()


def finds_a_scaler(model, loader, optimizer):
    scaler = torch.amp.GradScaler("cuda")
    for x, y in loader:
        scaler.scale(F.mse_loss(model(x), y)).backward()
        optimizer.zero_grad()  # BP116
        scaler.step(optimizer)
        scaler.update()


def finds_full_batches(model, x, y, optimizer):
    for _ in range(100):
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.zero_grad()  # BP116
        optimizer.step()


def finds_it_twice(model, loader, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.zero_grad()  # BP116
        optimizer.step()


def passes_before(model, loader, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()


def passes_after(model, loader, optimizer):
    for x, y in loader:
        F.mse_loss(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()


def passes_between_forward_and_backward(model, loader, optimizer):
    for x, y in loader:
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def passes_two_models(discriminator, generator, loader, first, second):
    for x, z in loader:
        first.zero_grad()
        discriminator(x).mean().backward()
        first.step()
        second.zero_grad()
        discriminator(generator(z)).mean().backward()
        second.step()


def passes_the_other_optimizer(model, loader, first, second):
    for x, y in loader:
        first.zero_grad()
        F.mse_loss(model(x), y).backward()
        second.zero_grad()
        first.step()


def passes_a_window(model, loader, optimizer):
    for i, (x, y) in enumerate(loader):
        F.mse_loss(model(x), y, reduction="sum").backward()
        if (i + 1) % 4 == 0 or i + 1 == len(loader):
            optimizer.step()
            optimizer.zero_grad()


def passes_a_bad_batch(model, loader, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        if not torch.isfinite(loss):
            optimizer.zero_grad()
            continue
        optimizer.step()


def passes_sharpness_aware_minimisation(model, loader, optimizer):
    for x, y in loader:
        F.mse_loss(model(x), y).backward()
        optimizer.first_step(zero_grad=True)
        F.mse_loss(model(x), y).backward()
        optimizer.second_step(zero_grad=True)


def misses_none(model, loader, optimizer):
    for x, y in loader:
        F.mse_loss(model(x), y).backward()
        for p in model.parameters():
            p.grad = None  # missed BP116
        optimizer.step()


def misses_a_helper_of_another_file(model, loader, optimizer):
    from tools import reset_gradients

    for x, y in loader:
        F.mse_loss(model(x), y).backward()
        reset_gradients(optimizer)  # missed BP116
        optimizer.step()


def passes_gradients_that_are_copied(model, copies, train_loader, optimizer):
    for x, y in train_loader:
        model.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.zero_grad()
        for copy, parameter in zip(copies, model.parameters(), strict=True):
            copy.grad.copy_(parameter.grad)
        optimizer.step()


def finds_gradients_that_each_batch_of_a_window_zeroes(model, loader, optimizer):
    for step, (x, y) in enumerate(loader):
        optimizer.zero_grad()  # BP116
        loss = F.mse_loss(model(x), y) / 4
        loss.backward()
        if (step + 1) % 4 == 0:  # BP103
            optimizer.step()


def passes_a_generator_that_steps_less_often(net, critic, loader, optimizer, critic_optimizer):
    for step, (x, z) in enumerate(loader):
        critic_optimizer.zero_grad()
        optimizer.zero_grad()
        (critic(net(z).detach()).mean() - critic(x).mean()).backward()
        critic_optimizer.step()
        if step % 5 == 0:
            (-critic(net(z)).mean()).backward()
            optimizer.step()
