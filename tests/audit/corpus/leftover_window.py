"""Micro-batches after the last full window."""

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset


def finds_windows_that_are_cut_off(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        (F.mse_loss(model(x), y) / k).backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_a_count_from_one(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader, start=1):
        (F.mse_loss(model(x), y) / k).backward()
        if i % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_a_remainder(model, train_loader, optimizer):
    for i, (x, y) in enumerate(train_loader):
        (F.mse_loss(model(x), y) / 4).backward()
        if i % 4 == 3:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_an_option(model, train_loader, optimizer, args):
    for epoch in range(args.epochs):
        for step, batch in enumerate(train_loader):
            loss = model(**batch).loss / args.gradient_accumulation_steps
            loss.backward()  # BP101 likely
            if (step + 1) % args.gradient_accumulation_steps == 0:  # BP103
                optimizer.step()
                optimizer.zero_grad()


def finds_gradients_dropped_at_the_next_epoch(model, train_loader, optimizer, k):
    for _ in range(10):
        optimizer.zero_grad()
        for i, (x, y) in enumerate(train_loader):
            (F.mse_loss(model(x), y) / k).backward()
            if (i + 1) % k == 0:  # BP103
                optimizer.step()
                optimizer.zero_grad()


def finds_a_scaler(model, train_loader, optimizer, k):
    scaler = torch.amp.GradScaler("cuda")
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) / k
        scaler.scale(loss).backward()
        if (i + 1) % k == 0:  # BP103
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()


def finds_a_last_window_with_the_full_divisor(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) / k
        loss.backward()
        if (i + 1) % k == 0 or i + 1 == len(train_loader):  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_a_length_with_two_names(model, train_loader, optimizer, config):
    k = config["accumulate"]
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) / config["accumulate"]
        loss.backward()
        if (i + 1) % k == 0:
            optimizer.step()
            optimizer.zero_grad()
    optimizer.step()  # BP103


def finds_a_factor(model, train_loader, optimizer, k):
    share = 1 / k
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) * share
        loss.backward()
        if (i + 1) % k == 0 or i + 1 == len(train_loader):  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_outputs_divided_at_once(model, train_loader, optimizer, k):
    for i, batch in enumerate(train_loader):
        outputs = model(**batch)
        loss = outputs[0] / k
        loss.backward()  # BP101 likely
        if (i + 1) % k == 0:
            optimizer.step()
            optimizer.zero_grad()
    optimizer.step()  # BP103


def finds_a_count_over_epochs_stepped_at_the_end_of_each(model, train_loader, optimizer, k):
    held = 0
    for _ in range(10):
        for x, y in train_loader:
            (F.mse_loss(model(x), y) / k).backward()
            held += 1
            if held % k == 0:
                optimizer.step()
                optimizer.zero_grad()
        optimizer.step()  # BP103
        optimizer.zero_grad()


def finds_a_count_over_epochs_emptied_at_each(model, train_loader, optimizer, k):
    held = 0
    for _ in range(10):
        optimizer.zero_grad()
        for x, y in train_loader:
            (F.mse_loss(model(x), y) / k).backward()
            held += 1
            if held % k == 0:  # BP103
                optimizer.step()
                optimizer.zero_grad()


def finds_each_of_two_optimisers(first, second, train_loader, one_optimizer, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        (F.mse_loss(first(x), y) / k).backward()
        (F.mse_loss(second(x), y) / k).backward()
        if (i + 1) % k == 0:
            one_optimizer.step()
            one_optimizer.zero_grad()
        if i % k == k - 1:
            optimizer.step()
            optimizer.zero_grad()
    one_optimizer.step()  # BP103
    optimizer.step()  # BP103


def finds_drawn_batches_stepped_at_the_last(model, optimizer, draw, batches, k):
    for i in range(batches):
        x, y = draw()
        loss = F.mse_loss(model(x), y) / k
        loss.backward()
        if (i + 1) % k == 0 or i + 1 == batches:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_a_count_over_epochs_emptied_once(model, train_loader, optimizer, k):
    held = 0
    optimizer.zero_grad()
    for _ in range(10):
        for x, y in train_loader:
            (F.mse_loss(model(x), y) / k).backward()
            held += 1
            if held % k == 0:
                optimizer.step()
                optimizer.zero_grad()


def finds_a_step_after_the_loop_with_the_full_divisor(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) / k
        loss.backward()
        if (i + 1) % k == 0:
            optimizer.step()
            optimizer.zero_grad()
    if (i + 1) % k != 0:  # BP103
        optimizer.step()
        optimizer.zero_grad()


def finds_numbers_that_do_not_divide(model, optimizer):
    data = TensorDataset(torch.randn(1000, 3), torch.randn(1000))
    loader = DataLoader(data, batch_size=10, drop_last=True)
    for i, (x, y) in enumerate(loader):
        (F.mse_loss(model(x), y) / 8).backward()
        if (i + 1) % 8 == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_numbers_that_divide(model, optimizer):
    data = TensorDataset(torch.randn(960, 3), torch.randn(960))
    loader = DataLoader(data, batch_size=10, drop_last=True)
    for i, (x, y) in enumerate(loader):
        (F.mse_loss(model(x), y) / 8).backward()
        if (i + 1) % 8 == 0:
            optimizer.step()
            optimizer.zero_grad()


def passes_a_step_for_every_batch(model, train_loader, optimizer):
    for x, y in train_loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()


def passes_a_corrected_divisor(model, train_loader, optimizer, k):
    last = len(train_loader) % k
    for i, (x, y) in enumerate(train_loader):
        if i >= len(train_loader) - last:
            k = last
        loss = F.mse_loss(model(x), y) / k
        loss.backward()
        if (i + 1) % k == 0 or i + 1 == len(train_loader):
            optimizer.step()
            optimizer.zero_grad()


def passes_windows_that_run_over_epochs(model, train_loader, optimizer, k):
    seen = 0
    for _ in range(10):
        for x, y in train_loader:
            (F.mse_loss(model(x), y) / k).backward()
            seen += 1
            if seen % k == 0:
                optimizer.step()
                optimizer.zero_grad()


def passes_an_endless_stream(model, get_batch, optimizer, k):
    for _ in range(1000):
        for _ in range(k):
            x, y = get_batch("train")
            (F.mse_loss(model(x), y) / k).backward()
        optimizer.step()
        optimizer.zero_grad()


def passes_accelerate(model, train_loader, optimizer, accelerator):
    for x, y in train_loader:
        with accelerator.accumulate(model):
            accelerator.backward(F.mse_loss(model(x), y))
            optimizer.step()
            optimizer.zero_grad()


def passes_a_report_every_k(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        if (i + 1) % k == 0:
            print(loss.item())


def passes_sums_divided_by_what_the_window_holds(model, train_loader, optimizer, k):
    held = 0
    for i, (x, y) in enumerate(train_loader):
        F.mse_loss(model(x), y, reduction="sum").backward()
        held += len(x)
        if (i + 1) % k == 0 or i + 1 == len(train_loader):
            for parameter in model.parameters():
                parameter.grad /= held
            optimizer.step()
            optimizer.zero_grad()
            held = 0


def finds_what_is_likely_where_batches_are_skipped(model, train_loader, optimizer, k, most):
    for i, (x, y) in enumerate(train_loader):
        window = i // k
        if window >= most:
            continue
        (F.mse_loss(model(x), y) / k).backward()
        if (i + 1) % k == 0:  # BP103 likely
            optimizer.step()
            optimizer.zero_grad()


def passes_a_generator_that_steps_less_often(generator, critic, train_loader, optimizers, k):
    optimizer_g, optimizer_c = optimizers
    for i, x in enumerate(train_loader):
        optimizer_c.zero_grad()
        (critic(generator(x).detach()).mean() - critic(x).mean()).backward()
        optimizer_c.step()
        if (i + 1) % k == 0:
            optimizer_g.zero_grad()
            (-critic(generator(x)).mean()).backward()
            optimizer_g.step()


def finds_a_continue(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        (F.mse_loss(model(x), y) / k).backward()
        if (i + 1) % k != 0:  # BP103
            continue
        optimizer.step()
        optimizer.zero_grad()


def finds_a_remainder_that_is_not_zero(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        (F.mse_loss(model(x), y) / k).backward()
        if not (i + 1) % k:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_a_name_for_the_test(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        full = (i + 1) % k == 0  # BP103
        (F.mse_loss(model(x), y) / k).backward()
        if full:
            optimizer.step()
            optimizer.zero_grad()


def finds_a_counter(model, train_loader, optimizer, k):
    for _ in range(10):
        steps = 0
        for x, y in train_loader:
            (F.mse_loss(model(x), y) / k).backward()
            steps += 1
            if steps % k == 0:  # BP103
                optimizer.step()
                optimizer.zero_grad()


class Trainer:
    def __init__(self, model, optimizer):
        self.model, self.optimizer, self.steps = model, optimizer, 0

    def passes_a_counter_of_all_passes(self, train_loader, k):
        for _ in range(10):
            for x, y in train_loader:
                (F.mse_loss(self.model(x), y) / k).backward()
                self.steps += 1
                if self.steps % k == 0:
                    self.optimizer.step()
                    self.optimizer.zero_grad()


def passes_a_counter_of_all_passes(model, train_loader, optimizer, k):
    steps = 0
    for _ in range(10):
        for x, y in train_loader:
            (F.mse_loss(model(x), y) / k).backward()
            steps += 1
            if steps % k == 0:
                optimizer.step()
                optimizer.zero_grad()


def finds_a_counter_that_is_reset(model, train_loader, optimizer, k):
    for _ in range(10):
        held = 0
        for x, y in train_loader:
            (F.mse_loss(model(x), y) / k).backward()
            held += 1
            if held == k:  # BP103
                optimizer.step()
                optimizer.zero_grad()
                held = 0


def misses_a_function_for_the_test(model, train_loader, optimizer, k, is_last):
    for i, (x, y) in enumerate(train_loader):
        (F.mse_loss(model(x), y) / k).backward()
        if is_last(i, k):  # missed BP103
            optimizer.step()
            optimizer.zero_grad()


def misses_a_list_that_is_emptied(model, train_loader, optimizer, k):
    for _ in range(10):
        held = []
        for x, y in train_loader:
            (F.mse_loss(model(x), y) / k).backward()
            held.append(len(x))
            if len(held) == k:  # missed BP103
                optimizer.step()
                optimizer.zero_grad()
                held = []


def finds_windows_over_a_call_that_yields_batches(model, optimizer, data, batch_iter):
    for i, (x, y) in enumerate(batch_iter(data, 8)):
        (F.mse_loss(model(x), y) / 4).backward()
        if (i + 1) % 4 == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_batches_without_end(model, optimizer, data, infinite_batches):
    for i, (x, y) in enumerate(infinite_batches(data, 8)):
        (F.mse_loss(model(x), y) / 4).backward()
        if (i + 1) % 4 == 0:
            optimizer.step()
            optimizer.zero_grad()


STEPS = 1


def passes_a_window_of_one(model, train_loader, optimizer):
    for i, (x, y) in enumerate(train_loader):
        (F.mse_loss(model(x), y) / STEPS).backward()
        if i % STEPS == 0:
            optimizer.step()
            optimizer.zero_grad()


def finds_a_bare_remainder_of_a_counter(model, train_loader, optimizer, k):
    step = 0
    for x, y in train_loader:
        (F.mse_loss(model(x), y) / k).backward()
        step += 1
        if step % k:  # BP103
            continue
        optimizer.step()
        optimizer.zero_grad()


def finds_a_remainder_that_is_not(model, train_loader, optimizer, k):
    step = 0
    for x, y in train_loader:
        (F.mse_loss(model(x), y) / k).backward()
        step += 1
        if not step % k:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_a_bare_remainder_with_a_last_step(model, train_loader, optimizer, k):
    step = 0
    for x, y in train_loader:
        F.mse_loss(model(x), y).backward()  # BP105 likely
        step += 1
        if step % k and step < len(train_loader):
            continue
        optimizer.step()
        optimizer.zero_grad()


def passes_a_bare_remainder_of_all_epochs(model, train_loader, optimizer, k, epochs):
    step = 0
    for _ in range(epochs):
        for x, y in train_loader:
            (F.mse_loss(model(x), y) / k).backward()
            step += 1
            if step % k:
                continue
            optimizer.step()
            optimizer.zero_grad()


def passes_a_print_where_there_is_a_remainder(model, train_loader, optimizer, k):
    step = 0
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        step += 1
        if step % k:
            print(loss.item())


def finds_samples_taken_one_by_one(model, samples, optimizer, k):
    optimizer.zero_grad()
    for i in range(len(samples)):
        x, y = samples[i]
        F.mse_loss(model(x), y).backward()  # BP105 likely
        if i % k == 0 and i > 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_samples_with_a_last_step(model, samples, optimizer, k):
    optimizer.zero_grad()
    for i in range(len(samples)):
        x, y = samples[i]
        F.mse_loss(model(x), y).backward()  # BP105 likely
        if (i + 1) % k == 0:
            optimizer.step()
            optimizer.zero_grad()
    optimizer.step()


def finds_passes_that_are_no_shorter_than_a_window(step_of, model, loader, optimizer, args):
    for step, batch in enumerate(loader):
        step_of(model, batch)
        if (step + 1) % args.gradient_accumulation_steps == 0 or (  # BP103
            len(loader) <= args.gradient_accumulation_steps and step + 1 == len(loader)
        ):
            optimizer.step()
            model.zero_grad()


def finds_a_test_that_a_name_holds(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        waits = (i + 1) % k != 0  # BP103
        (F.mse_loss(model(x), y) / k).backward()
        if not waits:
            optimizer.step()
            optimizer.zero_grad()


def finds_a_window_beside_a_limit_that_may_be_none(model, train_loader, optimizer, k, limit=None):
    for i, (x, y) in enumerate(train_loader):
        if limit is not None and i // k == limit:
            break
        (F.mse_loss(model(x), y) / k).backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_passes_of_several_parts_of_a_batch(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        for part in range(2):
            (F.mse_loss(model(x[:, part]), y[:, part]) / k).backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_losses_that_are_added_up(model, train_loader, optimizer, k):
    total = 0.0
    for i, (x, y) in enumerate(train_loader):
        total = total + F.mse_loss(model(x), y)
        if (i + 1) % k == 0:  # BP103
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            total = 0.0


def finds_windows_of_a_method_that_yields_batches(model, data, optimizer, args):
    for i, batch in enumerate(data.iterate_batches(epoch=1)):
        loss = model(**batch).loss / args.k
        loss.backward()  # BP101 likely
        if (i + 1) % args.k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_windows_of_a_loop_that_may_stop_early(model, train_loader, optimizer, args, evaluate):
    for i, (x, y) in enumerate(train_loader):
        (F.mse_loss(model(x), y) / args.k).backward()
        if (i + 1) % args.k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
        if (i + 1) % args.save_steps == 0 and evaluate(model):
            break


def finds_a_divisor_of_a_loss_in_parts(model, train_loader, optimizer, config):
    accumulate = config["accumulate"]
    for i, (x, y) in enumerate(train_loader):
        parts = model(x, y)["losses"]
        loss = sum(parts["class"]) + sum(parts["box"])
        loss = loss / accumulate
        loss.backward()
        if (i + 1) % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()
    optimizer.step()  # BP103
    optimizer.zero_grad()


def passes_a_stream_without_end(model, stream, optimizer, k):
    for i, (x, y) in enumerate(stream.count()):
        (F.mse_loss(model(x), y) / k).backward()
        if (i + 1) % k == 0:
            optimizer.step()
            optimizer.zero_grad()


class _Trainer:
    def __init__(self, model, loader, optimizer, k):
        self.model, self.loader, self.optimizer, self.k = model, loader, optimizer, k
        self.seen = 0

    def finds_an_attribute_over_epochs_and_gradients_emptied_at_each(self):
        for _ in range(10):
            self.optimizer.zero_grad()
            for x, y in self.loader:
                (F.mse_loss(self.model(x), y) / self.k).backward()
                self.seen += 1
                if self.seen % self.k == 0:  # BP103
                    self.optimizer.step()
                    self.optimizer.zero_grad()


def finds_a_counter_that_begins_again_with_each_window(model, data, optimizer, k):
    loader = DataLoader(data, batch_size=8)
    optimizer.zero_grad()
    for _ in range(10):
        batches = 0
        for x, y in loader:
            (F.mse_loss(model(x), y) / k).backward()
            if (batches + 1) % k == 0:  # BP103
                optimizer.step()
                optimizer.zero_grad()
                batches = 0
            else:
                batches += 1


def passes_a_counter_that_goes_on_from_pass_to_pass(model, data, optimizer, k):
    loader = DataLoader(data, batch_size=8)
    optimizer.zero_grad()
    batches = 0
    for _ in range(10):
        for x, y in loader:
            (F.mse_loss(model(x), y) / k).backward()
            if (batches + 1) % k == 0:
                optimizer.step()
                optimizer.zero_grad()
                batches = 0
            else:
                batches += 1


def finds_a_count_that_goes_on_where_a_run_was_resumed(model, loader, optimizer, k, start_step=0):
    for step, (x, y) in enumerate(loader, start=start_step + 1):
        (F.mse_loss(model(x), y) / k).backward()
        if step % k == 0:
            optimizer.step()
            optimizer.zero_grad()
    if step % k != 0:  # BP103
        optimizer.step()
        optimizer.zero_grad()


def finds_a_count_that_is_tested_for_less(model, train_loader, optimizer, k):
    for _ in range(10):
        held = 0
        for x, y in train_loader:
            (F.mse_loss(model(x), y) / k).backward()
            held += 1
            if held < k:  # BP103
                continue
            optimizer.step()
            optimizer.zero_grad()
            held = 0


def passes_the_same_where_the_count_goes_on(model, train_loader, optimizer, k):
    held = 0
    for _ in range(10):
        for x, y in train_loader:
            (F.mse_loss(model(x), y) / k).backward()
            held += 1
            if held < k:
                continue
            optimizer.step()
            optimizer.zero_grad()
            held = 0


def finds_a_count_that_goes_down(model, train_loader, optimizer, k):
    for _ in range(10):
        left = k
        for x, y in train_loader:
            (F.mse_loss(model(x), y) / k).backward()
            left -= 1
            if left == 0:  # BP103
                optimizer.step()
                optimizer.zero_grad()
                left = k


class Accumulates:
    def __init__(self, model, optimizer, steps):
        self.model, self.optimizer, self.steps = model, optimizer, steps

    def ends_window(self, index):
        return (index + 1) % self.steps == 0

    def finds_a_test_in_a_method(self, train_loader):
        for i, (x, y) in enumerate(train_loader):
            (F.mse_loss(self.model(x), y) / self.steps).backward()
            if self.ends_window(i):
                self.optimizer.step()  # BP103
                self.optimizer.zero_grad()


class OwnAdam(torch.optim.Optimizer):
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.data.add_(p.grad, alpha=-group["lr"])


def finds_an_optimiser_of_the_project(model, train_loader, k):
    optimizer = OwnAdam(model.parameters(), {"lr": 0.1})
    for i, (x, y) in enumerate(train_loader):
        (F.mse_loss(model(x), y) / k).backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_batches_inside_a_progress_bar(model, stream, optimizer, tqdm, k):
    for i, (x, y) in enumerate(tqdm(stream.next_epoch_itr(), desc="epoch")):
        (F.mse_loss(model(x), y) / k).backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_gradients_that_the_next_pass_empties(model, train_loader, optimizer, done, k):
    optimizer.zero_grad()
    for x, y in train_loader:
        F.mse_loss(model(x), y).backward()  # BP105 likely
        if (done + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
        done += 1
    return done


def passes_a_count_of_all_passes(model, train_loader, optimizer, done, k):
    for x, y in train_loader:
        F.mse_loss(model(x), y).backward()  # BP105 likely
        if (done + 1) % k == 0:
            optimizer.step()
            optimizer.zero_grad()
        done += 1
    return done


class CountsOn:
    def __init__(self, model, optimizer, steps):
        self.model, self.optimizer, self.steps = model, optimizer, steps
        self.done = 0

    def passes_an_attribute_that_counts_on(self, train_loader, epoch):
        for x, y in train_loader:
            (F.mse_loss(self.model(x), y) / self.steps).backward()
            self.done += 1
            if self.done % self.steps == 0:
                self.optimizer.step()
                self.optimizer.zero_grad()
