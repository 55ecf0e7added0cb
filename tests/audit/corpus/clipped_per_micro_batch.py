"""Gradients clipped before all micro-batches of a window have entered them."""

import torch
import torch.nn.functional as F
from torch.nn.utils import clip_grad_norm_


def finds_a_clip_outside_the_test(model, loader, optimizer):
    for i, (x, y) in enumerate(loader):
        F.mse_loss(model(x), y, reduction="sum").backward()
        clip_grad_norm_(model.parameters(), 1.0)  # BP113
        if (i + 1) % 4 == 0 or i + 1 == len(loader):
            optimizer.step()
            optimizer.zero_grad()


def finds_clipping_by_value(model, loader, optimizer):
    for i, (x, y) in enumerate(loader):
        F.mse_loss(model(x), y, reduction="sum").backward()
        torch.nn.utils.clip_grad_value_(model.parameters(), 1.0)  # BP113
        if (i + 1) % 4 == 0 or i + 1 == len(loader):
            optimizer.step()
            optimizer.zero_grad()


def finds_a_name_for_the_steps(model, loader, optimizer, accumulation_steps):
    for step, (x, y) in enumerate(loader):
        F.mse_loss(model(x), y, reduction="sum").backward()
        clip_grad_norm_(model.parameters(), max_norm=1.0)  # BP113
        if (step + 1) % accumulation_steps == 0 or step + 1 == len(loader):
            optimizer.step()
            optimizer.zero_grad()


def finds_an_inner_loop(model, windows, optimizer, k):
    for _ in range(100):
        optimizer.zero_grad()
        for _ in range(k):
            x, y = next(windows)
            F.mse_loss(model(x), y, reduction="sum").backward()
            clip_grad_norm_(model.parameters(), 1.0)  # BP113
        optimizer.step()


class Finds:
    def finds_in_a_class(self, loader):
        for i, (x, y) in enumerate(loader):
            F.mse_loss(self.model(x), y, reduction="sum").backward()
            clip_grad_norm_(self.model.parameters(), 1.0)  # BP113
            if (i + 1) % self.accumulate == 0 or i + 1 == len(loader):
                self.optimizer.step()
                self.optimizer.zero_grad()


def finds_a_scaler(model, loader, optimizer, scaler):
    for i, (x, y) in enumerate(loader):
        scaler.scale(F.mse_loss(model(x), y, reduction="sum")).backward()
        scaler.unscale_(optimizer)
        clip_grad_norm_(model.parameters(), 1.0)  # BP113
        if (i + 1) % 4 == 0 or i + 1 == len(loader):
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()


def finds_a_condition_of_its_own(model, loader, optimizer, max_norm):
    for i, (x, y) in enumerate(loader):
        F.mse_loss(model(x), y, reduction="sum").backward()
        if max_norm > 0:
            clip_grad_norm_(model.parameters(), max_norm)  # BP113
        if (i + 1) % 4 == 0 or i + 1 == len(loader):
            optimizer.step()
            optimizer.zero_grad()


def finds_a_test_the_other_way_round(model, loader, optimizer):
    for i, (x, y) in enumerate(loader, 1):
        F.mse_loss(model(x), y, reduction="sum").backward()
        clip_grad_norm_(model.parameters(), 1.0)  # BP113
        if i % 8 == 0 or i == len(loader):
            optimizer.step()
            optimizer.zero_grad()


def passes_a_clip_at_the_end_of_the_window(model, loader, optimizer):
    for i, (x, y) in enumerate(loader):
        F.mse_loss(model(x), y, reduction="sum").backward()
        if (i + 1) % 4 == 0 or i + 1 == len(loader):
            clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()


def passes_without_accumulation(model, loader, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def passes_two_tests_of_one_window(model, loader, optimizer):
    for i, (x, y) in enumerate(loader):
        F.mse_loss(model(x), y, reduction="sum").backward()
        ends = (i + 1) % 4 == 0 or i + 1 == len(loader)
        if ends:
            clip_grad_norm_(model.parameters(), 1.0)
        if ends:
            optimizer.step()
            optimizer.zero_grad()


def passes_an_inner_loop_with_the_clip_after_it(model, batches, optimizer, k):
    for _ in range(100):
        optimizer.zero_grad()
        for _ in range(k):
            x, y = next(batches)
            F.mse_loss(model(x), y, reduction="sum").backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def passes_accelerate(model, loader, optimizer, accelerator):
    for x, y in loader:
        with accelerator.accumulate(model):
            accelerator.backward(F.mse_loss(model(x), y))
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()


def passes_a_test_that_logs(model, loader, optimizer):
    for i, (x, y) in enumerate(loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (i + 1) % 100 == 0:
            print(i)


def passes_a_critic_that_steps_more_often(critic, generator, loader, first, second):
    for i, (x, _) in enumerate(loader):
        first.zero_grad()
        critic(x).mean().backward()
        clip_grad_norm_(critic.parameters(), 1.0)
        first.step()
        if (i + 1) % 5 == 0:
            second.zero_grad()
            critic(generator(x)).mean().backward()
            second.step()


def passes_a_norm_that_is_only_measured(model, loader, optimizer):
    for i, (x, y) in enumerate(loader):
        F.mse_loss(model(x), y, reduction="sum").backward()
        print(sum(p.grad.norm() for p in model.parameters()))
        if (i + 1) % 4 == 0 or i + 1 == len(loader):
            optimizer.step()
            optimizer.zero_grad()


def misses_clipping_by_hand(model, loader, optimizer):
    for i, (x, y) in enumerate(loader):
        F.mse_loss(model(x), y, reduction="sum").backward()
        for p in model.parameters():
            p.grad.clamp_(-1, 1)  # missed BP113
        if (i + 1) % 4 == 0 or i + 1 == len(loader):
            optimizer.step()
            optimizer.zero_grad()


def misses_a_helper_of_another_file(model, loader, optimizer, clip):
    for i, (x, y) in enumerate(loader):
        F.mse_loss(model(x), y, reduction="sum").backward()
        clip(model)  # missed BP113
        if (i + 1) % 4 == 0 or i + 1 == len(loader):
            optimizer.step()
            optimizer.zero_grad()


def finds_a_counter_that_begins_again(model, loader, optimizer):
    seen = 0
    for x, y in loader:
        F.mse_loss(model(x), y, reduction="sum").backward()
        clip_grad_norm_(model.parameters(), 1.0)  # BP113
        seen += 1
        if seen == 4:  # BP103
            optimizer.step()
            optimizer.zero_grad()
            seen = 0


class StepByStep:
    def __init__(self, model, optimizer, args):
        self.model, self.optimizer, self.args = model, optimizer, args

    def clips_each(self, engine, batch):
        loss = F.mse_loss(self.model(batch[0]), batch[1]) / self.args.accumulation_steps
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)  # BP113
        if engine.state.iteration % self.args.accumulation_steps == 0:
            self.optimizer.step()
            self.optimizer.zero_grad()

    def clips_whole(self, engine, batch):
        loss = F.mse_loss(self.model(batch[0]), batch[1]) / self.args.accumulation_steps
        loss.backward()
        if engine.state.iteration % self.args.accumulation_steps == 0:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
