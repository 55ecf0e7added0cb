"""Losses reported after they were divided by the accumulation steps."""

import numpy as np
import torch
import torch.nn.functional as F


class AverageMeter:
    def update(self, value, n=1):
        self.avg = value


def finds_a_printed_loss(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) / k
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
        print(loss.item())  # BP206


def finds_a_formatted_loss(model, train_loader, optimizer, args):
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y)
        loss = loss / args.accumulation_steps
        loss.backward()
        if (i + 1) % args.accumulation_steps == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
            print(f"loss {loss.item():.3f}")  # BP206


def finds_a_meter(model, train_loader, optimizer, accum_steps):
    meter = AverageMeter()
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y)
        loss = loss / accum_steps
        loss.backward()
        if (i + 1) % accum_steps == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
        meter.update(loss.item(), x.size(0))  # BP206


def finds_a_writer(model, train_loader, optimizer, writer, k):
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) / k
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
        writer.add_scalar("loss", loss.item(), i)  # BP206


def finds_an_average_over_batches(model, train_loader, optimizer, k):
    total = 0.0
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y, reduction="sum") / k
        loss.backward()
        total += loss.item()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
    return total / len(train_loader)  # BP206


def finds_a_conditional_division(model, train_loader, optimizer, args):
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y)
        if args.grad_accum > 1:
            loss = loss / args.grad_accum
        loss.backward()
        if (i + 1) % args.grad_accum == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
        print("loss", loss.item())  # BP206


def finds_a_division_in_place(model, train_loader, optimizer, k, wandb):
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y)
        loss /= k
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
        wandb.log({"loss": loss.item()})  # BP206


def finds_a_loop_over_micro_batches(model, get_batch, optimizer, k):
    for _ in range(1000):
        for _ in range(k):
            x, y = get_batch("train")
            loss = F.mse_loss(model(x), y) / k
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        print(loss.item())  # BP206


def finds_a_running_average_of_scaled_losses(model, train_loader, optimizer, k, interval):
    running = 0.0
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) / k
        loss.backward()
        running += loss.item()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
        if (i + 1) % interval == 0:
            print(running / interval)  # BP206
            running = 0.0


def finds_a_report_divided_beside_what_divides_itself(model, loader, optimizer, accelerator, args):
    for x, y in loader:
        with accelerator.accumulate(model):
            loss = F.mse_loss(model(x), y)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        mean = accelerator.gather(loss.detach()).mean()
        shown = mean.item() / args.gradient_accumulation_steps  # BP206
        accelerator.log({"loss": shown})


def passes_an_average_over_steps(model, train_loader, optimizer, k, interval):
    running, steps = 0.0, 0
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) / k
        loss.backward()
        running += loss.item()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
            steps += 1
            if steps % interval == 0:
                print(running / interval)
                running = 0.0


def finds_an_evaluation_divided_as_training_is(model, loader, args):
    total, batches = 0.0, 0
    with torch.no_grad():
        for x, y in loader:
            loss = F.mse_loss(model(x), y)
            loss = loss / args.accumulation_steps  # BP206
            total += loss.item()
            batches += 1
    return total / batches  # BP201 likely


def passes_a_loss_multiplied_back(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) / k
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
        print(loss.item() * k)


def passes_a_loss_divided_for_the_backward_pass(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y)
        (loss / k).backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
        print(loss.item())


def passes_another_name(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y)
        scaled = loss / k
        scaled.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
        print(loss.item())


def passes_a_loss_kept_before(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y)
        shown = loss.item()
        loss = loss / k
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
        print(shown)


def passes_the_sum_of_a_window(model, get_batch, optimizer, k):
    for _ in range(1000):
        total = 0.0
        for _ in range(k):
            x, y = get_batch("train")
            loss = F.mse_loss(model(x), y) / k
            loss.backward()
            total += loss.item()
        optimizer.step()
        optimizer.zero_grad()
        print(total)


def passes_an_average_multiplied_back(model, train_loader, optimizer, k):
    total = 0.0
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y, reduction="sum") / k
        loss.backward()
        total += loss.item() * k
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
    return total / len(train_loader.dataset)


def passes_no_accumulation(model, train_loader, optimizer, temperature):
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y) / temperature
        loss.backward()
        optimizer.step()
        print(loss.item())


def passes_a_meter_multiplied_back(model, train_loader, optimizer, accum_steps):
    meter = AverageMeter()
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) / accum_steps
        loss.backward()
        if (i + 1) % accum_steps == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
        meter.update(loss.item() * accum_steps, x.size(0))


def finds_a_factor(model, train_loader, optimizer, k):
    share = 1.0 / k
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) * share
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
        print(loss.item())  # BP206


def finds_the_mean_of_a_list(model, train_loader, optimizer, k):
    losses = []
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) / k
        loss.backward()
        losses.append(loss.item())
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
    print(np.mean(losses))  # BP206, BP201 likely


def passes_the_mean_of_a_list_of_losses(model, train_loader, optimizer, k):
    losses = []
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y)
        losses.append(loss.item())
        (loss / k).backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
    print(np.mean(losses))  # BP201 likely


def misses_a_factor(model, train_loader, optimizer, k):
    share = k**-1
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) * share
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
        print(loss.item())  # missed BP206


def misses_a_returned_loss(model, x, y, k):
    loss = F.mse_loss(model(x), y) / k
    loss.backward()
    return loss.item()  # missed BP206


class _Trainer:
    def __init__(self, model, every=4):
        self.model, self.every = model, every

    def finds_steps_that_are_an_attribute(self, loader, optimizer):
        total = 0.0
        for i, (x, y) in enumerate(loader):
            loss = F.cross_entropy(self.model(x), y) / self.every
            total += loss.item()
            loss.backward()
            if (i + 1) % self.every == 0:  # BP103
                optimizer.step()
                optimizer.zero_grad()
        return total / len(loader)  # BP206, BP201 likely


def finds_a_batch_moved_tensor_by_tensor(model, loader, optimizer, k):
    total = count = 0
    for i, batch in enumerate(loader):
        x, y = tuple(tensor.cuda() for tensor in batch)
        loss = F.cross_entropy(model(x), y) / k
        total += loss.item() * y.size(0)
        count += y.size(0)
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
    return total / count  # BP206


def passes_the_branch_that_does_not_accumulate(model, train_loader, optimizer, args):
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y)
        if args.accumulate:
            loss = loss / args.k
        loss.backward()
        if args.accumulate:
            if (i + 1) % args.k == 0:  # BP103
                optimizer.step()
                optimizer.zero_grad()
                print(loss.item() * args.k)
        else:
            optimizer.step()
            optimizer.zero_grad()
            print(loss.item())


def finds_the_branch_that_accumulates(model, train_loader, optimizer, args):
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y)
        if args.k > 1:
            loss = loss / args.k
        loss.backward()
        if (i + 1) % args.k == 0 or i + 1 == len(train_loader):  # BP103
            optimizer.step()
            optimizer.zero_grad()
        if args.k > 1:
            print(loss.item())  # BP206


def finds_a_window_that_a_counter_of_its_own_divides(model, train_loader, optimizer, k, writer):
    held, total, steps = 0, 0.0, 0
    for batch in train_loader:
        for x, y in batch:
            loss = F.mse_loss(model(x), y)
            loss = loss / k
            loss.backward()
            total += loss.item()
            held += 1
            steps += 1
            if steps % k == 0:
                optimizer.step()
                optimizer.zero_grad()
            if steps % 100 == 0:
                writer.add_scalar("loss", total / held, steps)  # BP206
                total, held = 0.0, 0


def passes_a_counter_of_optimizer_steps(model, train_loader, optimizer, k, writer):
    total, updates = 0.0, 0
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) / k
        loss.backward()
        total += loss.item()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
            updates += 1
            writer.add_scalar("loss", total / updates, updates)


def finds_a_sum_of_a_training_that_an_option_asks_for(model, train_loader, optimizer, args):
    total, steps = 0.0, 0
    if args.train:
        for i, (x, y) in enumerate(train_loader):
            loss = F.mse_loss(model(x), y) / args.accumulate
            loss.backward()
            total += loss.item()
            steps += 1
            if (i + 1) % args.accumulate == 0:  # BP103
                optimizer.step()
                optimizer.zero_grad()
    return total / steps if args.train else None  # BP206


def finds_a_loss_in_a_dict_out_of_sight(model, train_loader, optimizer, config, losses_of):
    k = config["accumulate"]
    for i, batch in enumerate(train_loader):
        loss = losses_of(model, batch)["total"] / k
        loss.backward()
        if not torch.isfinite(loss):
            print(f"the loss is {loss.item()}")
        print(loss.item())  # BP206
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_what_is_called_scaled(model, train_loader, optimizer, writer, accumulate):
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) / accumulate
        loss.backward()
        writer.add_scalar("scaled_loss", loss.item(), i)
        if (i + 1) % accumulate == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_a_mean_over_batches_that_are_counted_elsewhere(model, stream, optimizer, logger, args):
    n_batches = stream.length()
    total = 0.0
    for i, (x, y) in enumerate(stream.train_loader()):
        loss = F.mse_loss(model(x), y) / args.accumulation_steps
        total += loss.item()
        loss.backward()
        if (i + 1) % args.accumulation_steps == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
    logger.info("loss %f", total / n_batches)  # BP206


def passes_a_mean_over_windows_that_are_counted_elsewhere(model, stream, optimizer, logger, args):
    window_batches = stream.length() // args.accumulation_steps
    total = 0.0
    for i, (x, y) in enumerate(stream.train_loader()):
        loss = F.mse_loss(model(x), y) / args.accumulation_steps
        total += loss.item()
        loss.backward()
        if (i + 1) % args.accumulation_steps == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
    logger.info("loss %f", total / window_batches)


def finds_a_progress_bar_out_of_sight(model, train_loader, optimizer, pbar, k):
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y).div(k)
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
        pbar(i, {"loss": loss.item()})  # BP206


def finds_a_history(model, train_loader, optimizer, k):
    history = {"loss": []}
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) / k
        loss.backward()
        history["loss"].append(loss.item())  # BP206
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
    return history


def passes_a_list_that_is_summed_for_each_window(model, train_loader, optimizer, k):
    log = []
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) / k
        loss.backward()
        log.append(loss.item())
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
            print(sum(log))
            log = []


def finds_the_last_loss_of_a_window_returned(model, batches, optimizer, accum):
    optimizer.zero_grad()
    for _ in range(accum):
        x, y = next(batches)
        loss = F.mse_loss(model(x), y) / accum
        loss.backward()
    optimizer.step()
    return {"loss": loss.item()}  # BP206


def passes_the_sum_of_a_window_returned(model, batches, optimizer, accum):
    optimizer.zero_grad()
    total = 0.0
    for _ in range(accum):
        x, y = next(batches)
        loss = F.mse_loss(model(x), y) / accum
        loss.backward()
        total += loss.item()
    optimizer.step()
    return total


def finds_a_sum_that_is_divided_again(model, batches, optimizer, accum):
    optimizer.zero_grad()
    total = 0.0
    for _ in range(accum):
        x, y = next(batches)
        loss = F.mse_loss(model(x), y) / accum
        loss.backward()
        total += loss.item()
    optimizer.step()
    return total / accum  # BP206


def finds_what_a_step_gives_its_engine(model, optimizer, args):
    from ignite.engine import Engine

    def update(engine, batch):
        x, y = batch
        loss = F.mse_loss(model(x), y) / args.accumulation_steps
        loss.backward()
        if engine.state.iteration % args.accumulation_steps == 0:
            optimizer.step()
            optimizer.zero_grad()
        return loss.item()  # BP206

    return Engine(update)


def finds_a_window_whose_length_has_two_names(model, train_loader, optimizer, options, accum):
    total = 0.0
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) / accum
        loss.backward()
        total += loss.item()
        if (i + 1) % (options["every"] * options["accum"]) == 0:
            print(total / (options["every"] * accum))  # BP206
            total = 0.0
        if (i + 1) % accum == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_a_sum_that_begins_with_the_first_loss(model, batches, optimizer, accum):
    optimizer.zero_grad()
    total = None
    for _ in range(accum):
        x, y = next(batches)
        loss = F.mse_loss(model(x), y)
        loss /= accum
        loss.backward()
        if total is None:
            total = loss.detach()
        else:
            total += loss.detach()
    optimizer.step()
    return total.item()


class Bar:
    def __init__(self, length):
        self.length = length

    def __call__(self, step, info):
        print(f"{step}/{self.length}", info)


def finds_a_progress_bar_of_the_project(model, train_loader, optimizer, k):
    pbar = Bar(len(train_loader))
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) / k
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
        pbar(i, {"loss": loss.item()})  # BP206
