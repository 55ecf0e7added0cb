"""Schedules that step before the optimiser."""

import torch
import torch.nn.functional as F
from torch import optim
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, ReduceLROnPlateau, StepLR
from transformers import get_linear_schedule_with_warmup


def finds_it_at_the_start_of_an_epoch(model, loader):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = StepLR(optimizer, step_size=10)
    for _ in range(10):
        scheduler.step()  # BP406
        for x, y in loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()


def finds_it_before_the_backward_pass(model, loader):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = CosineAnnealingLR(optimizer, T_max=100)
    for x, y in loader:
        scheduler.step()  # BP406
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()


def finds_it_between_the_backward_pass_and_the_step(model, loader):
    optimizer = optim.Adam(model.parameters())
    lr_scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    for x, y in loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        lr_scheduler.step()  # BP406
        optimizer.step()


def finds_a_schedule_of_a_function(model, loader):
    optimizer = optim.Adam(model.parameters())
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        scheduler.step()  # BP406
        optimizer.step()


def finds_a_schedule_of_transformers(model, loader):
    optimizer = optim.AdamW(model.parameters())
    scheduler = get_linear_schedule_with_warmup(optimizer, 100, 1000)
    for x, y in loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        scheduler.step()  # BP406
        optimizer.step()


class Finds:
    def __init__(self, model):
        self.model = model
        self.optimizer = optim.SGD(model.parameters(), lr=0.1)
        self.scheduler = StepLR(self.optimizer, 5)

    def finds_in_a_class(self, loader):
        for _ in range(5):
            self.scheduler.step()  # BP406
            for x, y in loader:
                self.optimizer.zero_grad()
                F.mse_loss(self.model(x), y).backward()
                self.optimizer.step()


def finds_it_in_a_helper(model, loader):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = StepLR(optimizer, 5)
    for _ in range(5):
        scheduler.step()  # BP406
        _epoch(model, loader, optimizer)


def _epoch(model, loader, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()


def finds_one_of_two(model, loader):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    warm = optim.lr_scheduler.LinearLR(optimizer)
    decay = StepLR(optimizer, 5)
    for _ in range(5):
        warm.step()  # BP406
        for x, y in loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
        decay.step()


def finds_what_may_be_a_schedule(model, loader, optimizer, scheduler):
    for _ in range(5):
        scheduler.step()  # BP406
        for x, y in loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()


def passes_after_the_epoch(model, loader):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = StepLR(optimizer, step_size=10)
    for _ in range(10):
        for x, y in loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
        scheduler.step()


def passes_after_the_step(model, loader):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = CosineAnnealingLR(optimizer, T_max=100)
    for x, y in loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
        scheduler.step()


def passes_an_epoch_number(model, loader):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = CosineAnnealingLR(optimizer, T_max=100)
    for epoch in range(10):
        scheduler.step(epoch)
        for x, y in loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()


def passes_a_plateau(model, loader, validate):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = ReduceLROnPlateau(optimizer)
    for _ in range(10):
        for x, y in loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
        scheduler.step(validate(model))


def passes_a_condition(model, loader):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = StepLR(optimizer, 5)
    for epoch in range(10):
        if epoch > 0:
            scheduler.step()
        for x, y in loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()


def passes_another_step_before(model, loader):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = StepLR(optimizer, 5)
    optimizer.step()
    for _ in range(10):
        scheduler.step()
        for x, y in loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()


def passes_a_replay_of_finished_epochs(model, loader, done):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = StepLR(optimizer, 5)
    for _ in range(done):
        scheduler.step()
    for x, y in loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()


def passes_something_else_that_steps(model, loader, environment):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    for x, y in loader:
        environment.step()
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()


def misses_a_schedule_by_hand(model, loader, optimizer, schedule):
    for x, y in loader:
        schedule.advance()  # missed BP406
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()


def misses_two_loops(model, loader):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    schedulers = [StepLR(optimizer, 5), StepLR(optimizer, 7)]
    for _ in range(10):
        for one in schedulers:
            one.step()  # missed BP406
        for x, y in loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()


def finds_an_optimizer_of_a_class_out_of_sight(config, device, loader, get_model, get_optimizer):
    model = get_model(config).to(device)
    kind = get_optimizer(config)
    optimizer = kind(model.parameters(), lr=config.lr)
    scheduler = StepLR(optimizer, step_size=10)
    for x, y in loader:
        scheduler.step()  # BP406
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()


def finds_a_schedule_at_the_end_of_a_window(model, loader, k):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = StepLR(optimizer, step_size=10)
    for i, (x, y) in enumerate(loader):
        (F.mse_loss(model(x), y) / k).backward()
        if (i + 1) % k == 0:  # BP103
            scheduler.step()  # BP406
            optimizer.step()
            optimizer.zero_grad()


class Warmup(LambdaLR):
    def __init__(self, optimizer, steps):
        super().__init__(optimizer, lambda step: min(1.0, step / steps))


class WarmupOfItsOwn(LambdaLR):
    def step(self):
        self.optimizer.param_groups[0]["lr"] = self.lr_lambdas[0](self.last_epoch)


def finds_a_schedule_that_a_class_in_sight_makes(model, loader):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = Warmup(optimizer, 100)
    for x, y in loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        scheduler.step()  # BP406
        optimizer.step()


def passes_a_schedule_whose_class_steps_in_its_own_way(model, loader):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    warmup = WarmupOfItsOwn(optimizer, None)
    for x, y in loader:
        warmup.step()
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()


def finds_what_is_less_clearly_a_schedule(model, loader, optimizer, sched):
    for _ in range(5):
        sched.step()  # BP406 likely
        for x, y in loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()


def finds_it_before_a_call_that_trains(model, loader, train_one_epoch):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = StepLR(optimizer, step_size=10)
    for epoch in range(10):
        scheduler.step()  # BP406
        train_one_epoch(model, optimizer, loader, epoch)


def passes_it_after_a_call_that_trains(model, loader, train_one_epoch):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = StepLR(optimizer, step_size=10)
    for epoch in range(10):
        train_one_epoch(model, optimizer, loader, epoch)
        scheduler.step()


class Fits:
    def __init__(self, model, loader):
        self.model, self.loader = model, loader
        self.optimizer = optim.SGD(model.parameters(), lr=0.1)
        self.schedule = StepLR(self.optimizer, step_size=10)

    def finds_it_at_the_start_of_one_epoch(self, epoch):
        self.schedule.step()  # BP406
        for x, y in self.loader:
            self.optimizer.zero_grad()
            F.mse_loss(self.model(x), y).backward()
            self.optimizer.step()

    def passes_it_at_the_end_of_one_epoch(self, epoch):
        for x, y in self.loader:
            self.optimizer.zero_grad()
            F.mse_loss(self.model(x), y).backward()
            self.optimizer.step()
        self.schedule.step()


def finds_it_at_the_start_of_a_function_that_trains(model, scheduler, optimizer, loader):
    def train_and_test():
        scheduler.step()  # BP406
        for x, y in loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()

    return train_and_test()


def passes_it_at_the_end_of_a_function_that_trains(model, scheduler, optimizer, loader):
    def train_and_test():
        for x, y in loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
        scheduler.step()

    return train_and_test()


def train_with_a_schedule_that_must_begin(model, scheduler, optimizer, loader, epochs):
    scheduler.step()
    for epoch in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
        scheduler.step(epoch)
