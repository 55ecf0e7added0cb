"""Gradients clipped while they carry the loss scale."""

import torch
import torch.nn.functional as F
from torch.cuda.amp import GradScaler
from torch.nn.utils import clip_grad_norm_


def finds_a_clip_without_unscale(model, loader, optimizer):
    scaler = torch.amp.GradScaler("cuda")
    for x, y in loader:
        optimizer.zero_grad()
        with torch.autocast("cuda"):
            loss = F.mse_loss(model(x), y)
        scaler.scale(loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # BP114
        scaler.step(optimizer)
        scaler.update()


def finds_the_old_name(model, loader, optimizer):
    scaler = GradScaler()
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        scaler.scale(loss).backward()
        clip_grad_norm_(model.parameters(), 1.0)  # BP114
        scaler.step(optimizer)
        scaler.update()


def finds_clipping_by_value(model, loader, optimizer):
    scaler = torch.amp.GradScaler("cuda")
    for x, y in loader:
        optimizer.zero_grad()
        scaler.scale(F.mse_loss(model(x), y)).backward()
        torch.nn.utils.clip_grad_value_(model.parameters(), 0.5)  # BP114
        scaler.step(optimizer)
        scaler.update()


def finds_unscale_after_the_clip(model, loader, optimizer):
    scaler = torch.amp.GradScaler("cuda")
    for x, y in loader:
        optimizer.zero_grad()
        scaler.scale(F.mse_loss(model(x), y)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # BP114
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()


class Finds:
    def __init__(self, model, optimizer):
        self.model, self.optimizer = model, optimizer
        self.scaler = torch.amp.GradScaler("cuda")

    def finds_in_a_class(self, loader):
        for x, y in loader:
            self.optimizer.zero_grad()
            self.scaler.scale(F.mse_loss(self.model(x), y)).backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)  # BP114
            self.scaler.step(self.optimizer)
            self.scaler.update()


def finds_it_under_a_condition(model, loader, optimizer, max_norm):
    scaler = torch.amp.GradScaler("cuda")
    for x, y in loader:
        optimizer.zero_grad()
        scaler.scale(F.mse_loss(model(x), y)).backward()
        if max_norm is not None:
            clip_grad_norm_(model.parameters(), max_norm)  # BP114
        scaler.step(optimizer)
        scaler.update()


def finds_a_name_for_the_scaled_loss(model, loader, optimizer):
    scaler = torch.amp.GradScaler("cuda")
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        scaled = scaler.scale(loss)
        scaled.backward()
        clip_grad_norm_(model.parameters(), 1.0)  # BP114
        scaler.step(optimizer)
        scaler.update()


def finds_the_end_of_a_window(model, loader, optimizer):
    scaler = torch.amp.GradScaler("cuda")
    for i, (x, y) in enumerate(loader):
        scaler.scale(F.mse_loss(model(x), y, reduction="sum")).backward()
        if (i + 1) % 4 == 0 or i + 1 == len(loader):
            clip_grad_norm_(model.parameters(), 1.0)  # BP114
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()


def passes_unscale(model, loader, optimizer):
    scaler = torch.amp.GradScaler("cuda")
    for x, y in loader:
        optimizer.zero_grad()
        scaler.scale(F.mse_loss(model(x), y)).backward()
        scaler.unscale_(optimizer)
        clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()


def passes_unscale_under_the_same_condition(model, loader, optimizer, max_norm):
    scaler = torch.amp.GradScaler("cuda")
    for x, y in loader:
        optimizer.zero_grad()
        scaler.scale(F.mse_loss(model(x), y)).backward()
        if max_norm:
            scaler.unscale_(optimizer)
            clip_grad_norm_(model.parameters(), max_norm)
        scaler.step(optimizer)
        scaler.update()


def passes_without_a_scaler(model, loader, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def passes_accelerate(model, loader, optimizer, accelerator):
    for x, y in loader:
        optimizer.zero_grad()
        accelerator.backward(F.mse_loss(model(x), y))
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def passes_two_paths(model, loader, optimizer, half):
    scaler = torch.amp.GradScaler("cuda")
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        if half:
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        else:
            loss.backward()
            clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()


def passes_bfloat16(model, loader, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = F.mse_loss(model(x), y)
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def passes_a_scaler_that_is_off(model, loader, optimizer):
    scaler = torch.amp.GradScaler("cuda", enabled=False)
    for x, y in loader:
        optimizer.zero_grad()
        scaler.scale(F.mse_loss(model(x), y)).backward()
        clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()


def passes_clipping_the_values_of_a_tensor(model, loader, optimizer):
    scaler = torch.amp.GradScaler("cuda")
    for x, y in loader:
        optimizer.zero_grad()
        prediction = model(x).clip(0, 1)
        scaler.scale(F.mse_loss(prediction, y)).backward()
        scaler.step(optimizer)
        scaler.update()


def misses_clipping_by_hand(model, loader, optimizer):
    scaler = torch.amp.GradScaler("cuda")
    for x, y in loader:
        optimizer.zero_grad()
        scaler.scale(F.mse_loss(model(x), y)).backward()
        for p in model.parameters():
            p.grad.clamp_(-1, 1)  # missed BP114
        scaler.step(optimizer)
        scaler.update()


def misses_a_helper_of_another_file(model, loader, optimizer):
    from tools import clip

    scaler = torch.amp.GradScaler("cuda")
    for x, y in loader:
        optimizer.zero_grad()
        scaler.scale(F.mse_loss(model(x), y)).backward()
        clip(model)  # missed BP114
        scaler.step(optimizer)
        scaler.update()


class Trains:
    def __init__(self, model, optimizer, mixed):
        self.model, self.optimizer, self.mixed = model, optimizer, mixed
        self.scaler = GradScaler()

    def step(self, x, y):
        loss = F.mse_loss(self.model(x), y)
        if self.mixed:
            self.scaler.scale(loss).backward()
        else:
            loss.backward()

    def finds_a_clip_before_unscale_in_the_loop_that_calls_it(self, loader):
        for x, y in loader:
            self.optimizer.zero_grad()
            self.step(x, y)
            clip_grad_norm_(self.model.parameters(), 1.0)  # BP114
            self.scaler.unscale_(self.optimizer)
            self.scaler.step(self.optimizer)
            self.scaler.update()

    def passes_a_clip_after_unscale(self, loader):
        for x, y in loader:
            self.optimizer.zero_grad()
            self.step(x, y)
            self.scaler.unscale_(self.optimizer)
            clip_grad_norm_(self.model.parameters(), 1.0)
            self.scaler.step(self.optimizer)
            self.scaler.update()
