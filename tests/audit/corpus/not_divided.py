"""Means of micro-batches that are added, and nothing divides their sum."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader


def finds_a_window(model, train_loader, optimizer, accumulation_steps):
    for i, (x, y) in enumerate(train_loader):
        F.mse_loss(model(x), y).backward()  # BP105
        if (i + 1) % accumulation_steps == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_a_window_from_one(model, train_loader, optimizer, args):
    criterion = nn.CrossEntropyLoss()
    for i, (x, y) in enumerate(train_loader, 1):
        loss = criterion(model(x), y)
        loss.backward()  # BP105
        if i % args.gradient_accumulation_steps == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_a_window_with_its_rest(model, train_loader, optimizer, accum_iter):
    for i, (x, y) in enumerate(train_loader):
        loss = F.cross_entropy(model(x), y)
        loss.backward()  # BP105
        if (i + 1) % accum_iter == 0 or i + 1 == len(train_loader):
            optimizer.step()
            optimizer.zero_grad()


def finds_a_scaled_loss(model, train_loader, optimizer, accumulate):
    scaler = torch.amp.GradScaler()
    for i, (x, y) in enumerate(train_loader):
        loss = F.cross_entropy(model(x), y)
        scaler.scale(loss).backward()  # BP105
        if (i + 1) % accumulate == 0:  # BP103
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()


def finds_the_micro_batches_of_a_step(model, batches, optimizer, accumulate):
    for _ in range(100):
        optimizer.zero_grad()
        for _ in range(accumulate):
            x, y = next(batches)
            F.cross_entropy(model(x), y).backward()  # BP105
        optimizer.step()


def finds_a_loader_in_sight(model, data, optimizer, accumulation):
    for i, (x, y) in enumerate(DataLoader(data, 32)):
        F.l1_loss(model(x), y).backward()  # BP105
        if (i + 1) % accumulation == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_a_counter(model, train_loader, optimizer, accumulation_steps):
    for _epoch in range(3):
        held = 0
        for x, y in train_loader:
            F.mse_loss(model(x), y).backward()  # BP105
            held += 1
            if held == accumulation_steps:  # BP103
                optimizer.step()
                optimizer.zero_grad()
                held = 0


def finds_another_name_for_the_length(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        F.mse_loss(model(x), y).backward()  # BP105 likely
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_the_loss_of_a_model_of_tokens(model, train_loader, optimizer, accum_steps):
    for i, batch in enumerate(train_loader):
        outputs = model(input_ids=batch["ids"], labels=batch["labels"])
        loss = outputs.loss
        loss.backward()  # BP105
        if (i + 1) % accum_steps == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_the_loss_of_any_model(model, train_loader, optimizer, accum_steps):
    for i, batch in enumerate(train_loader):
        outputs = model(input_values=batch["audio"], labels=batch["labels"])
        outputs.loss.backward()  # BP105 likely
        if (i + 1) % accum_steps == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_micro_steps_whose_report_is_divided(model, train_loader, optimizer, accum_steps):
    batches = iter(train_loader)
    for _ in range(100):
        optimizer.zero_grad()
        total = 0.0
        for _ in range(accum_steps):
            x, y = next(batches)
            loss = F.mse_loss(model(x), y)
            loss.backward()  # BP105
            total += loss.item()
        optimizer.step()
        print(total / accum_steps)


def passes_micro_steps_of_a_sum(model, train_loader, optimizer, accum_steps):
    batches = iter(train_loader)
    for _ in range(100):
        optimizer.zero_grad()
        total = 0.0
        for _ in range(accum_steps):
            x, y = next(batches)
            total = total + F.mse_loss(model(x), y)
        (total / accum_steps).backward()
        optimizer.step()


def passes_a_divided_loss(model, train_loader, optimizer, accumulate):
    for i, (x, y) in enumerate(train_loader):
        (F.mse_loss(model(x), y) / accumulate).backward()
        if (i + 1) % accumulate == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_a_loss_that_is_divided_where_several_are_added(model, train_loader, optimizer, args):
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y)
        if args.gradient_accumulation_steps > 1:
            loss = loss / args.gradient_accumulation_steps
        loss.backward()
        if (i + 1) % args.gradient_accumulation_steps == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_a_loss_times_a_share(model, train_loader, optimizer, accumulate):
    share = 1 / accumulate
    for i, (x, y) in enumerate(train_loader):
        (share * F.mse_loss(model(x), y)).backward()
        if (i + 1) % accumulate == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_divided_gradients(model, train_loader, optimizer, accumulate):
    for i, (x, y) in enumerate(train_loader):
        F.mse_loss(model(x), y).backward()
        if (i + 1) % accumulate == 0:  # BP103
            for parameter in model.parameters():
                parameter.grad.div_(accumulate)
            optimizer.step()
            optimizer.zero_grad()


def passes_gradients_that_a_method_divides(model, train_loader, optimizer, accumulate):
    for i, (x, y) in enumerate(train_loader):
        F.mse_loss(model(x), y).backward()
        if (i + 1) % accumulate == 0:  # BP103
            optimizer.multiply_grads(1 / accumulate)
            optimizer.step()
            optimizer.zero_grad()


def passes_a_learning_rate_of_its_own(model, train_loader, optimizer, args):
    for group in optimizer.param_groups:
        group["lr"] = args.lr / args.accumulate
    for i, (x, y) in enumerate(train_loader):
        F.mse_loss(model(x), y).backward()
        if (i + 1) % args.accumulate == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_a_sum(model, train_loader, optimizer, accumulate):
    for i, (x, y) in enumerate(train_loader):
        (F.mse_loss(model(x), y, reduction="sum") / 1024).backward()
        if (i + 1) % accumulate == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_a_step_for_every_batch(model, train_loader, optimizer, accumulate):
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
        if (i + 1) % accumulate == 0:
            print(i)


def passes_an_accelerator(model, train_loader, optimizer, accelerator):
    for x, y in train_loader:
        with accelerator.accumulate(model):
            accelerator.backward(F.mse_loss(model(x), y))
            optimizer.step()
            optimizer.zero_grad()


def misses_a_window_that_a_function_ends(model, train_loader, optimizer, window):
    for x, y in train_loader:
        F.mse_loss(model(x), y).backward()  # missed BP105
        if window.is_full():
            optimizer.step()
            optimizer.zero_grad()


def misses_a_batch_that_is_cut_in_parts(model, train_loader, optimizer, size):
    for x, y in train_loader:
        optimizer.zero_grad()
        for part, target in zip(x.split(size), y.split(size), strict=True):
            F.mse_loss(model(part), target).backward()  # missed BP105
        optimizer.step()


@torch.no_grad()
def finds_a_sum_of_means_that_is_printed(model, val_loader):
    val_loss = 0.0
    for x, y in val_loader:
        val_loss += F.cross_entropy(model(x), y).item()
    print("loss", val_loss)  # BP105


@torch.no_grad()
def finds_a_sum_of_means_by_its_name(model, val_loader, writer, epoch):
    total_loss = 0.0
    for x, y in val_loader:
        total_loss += F.cross_entropy(model(x), y).item()
    writer.add_scalar("loss", total_loss, epoch)  # BP105 likely


@torch.no_grad()
def passes_a_mean_that_is_printed(model, data):
    loader, val_loss = DataLoader(data, batch_size=16, drop_last=True), 0.0
    for x, y in loader:
        val_loss += F.cross_entropy(model(x), y).item()
    print("loss", val_loss / len(loader))


@torch.no_grad()
def passes_a_sum_of_samples_that_is_printed(model, data):
    val_loss = 0.0
    for x, y in DataLoader(data, batch_size=16):
        val_loss += F.cross_entropy(model(x), y, reduction="sum").item()
    print("loss", val_loss)
