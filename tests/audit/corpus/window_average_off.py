"""Running averages whose divisor is not the number of batches they hold."""

from collections import defaultdict

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset


def finds_another_number(model, train_loader, optimizer):
    running = 0.0
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if i % 2000 == 1999:
            print(running / 1000)  # BP204
            running = 0.0


def finds_another_number_counted_from_one(model, train_loader, optimizer):
    running = 0.0
    for i, (x, y) in enumerate(train_loader, 1):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if i % 100 == 0:
            print(f"loss {running / 10:.3f}")  # BP204
            running = 0.0


def finds_a_sum_that_is_never_reset(model, train_loader, optimizer):
    running = 0.0
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if i % 100 == 99:
            print(running / 100)  # BP204


def finds_an_option_that_is_never_reset(model, train_loader, optimizer, args):
    running = 0.0
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if (i + 1) % args.log_every == 0:
            print(running / args.log_every)  # BP204


def finds_a_first_report_after_one_batch(model, train_loader, optimizer):
    running = 0.0
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if i % 50 == 0:
            print(running / 50)  # BP204
            running = 0.0


def finds_an_index_after_the_loop(model, train_loader, optimizer):
    running = 0.0
    for step, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
    return running / step  # BP202


def finds_an_index_of_sums(model, loader, no_grad):
    total = 0.0
    with no_grad():
        for counter, (x, y) in enumerate(loader):
            total += F.mse_loss(model(x), y).item()
    total /= counter  # BP202
    return total


def finds_an_index_inside_the_loop(model, train_loader, optimizer):
    running = 0.0
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if i % 100 == 99:
            print(running / i)  # BP204


def finds_a_total_that_grows_over_epochs(model, train_loader, optimizer):
    total = 0.0
    for _ in range(10):
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(total / len(train_loader))  # BP201 likely, BP204


def finds_a_short_window_at_the_end(model, train_loader, optimizer, every):
    running = 0.0
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if (i + 1) % every == 0 or i + 1 == len(train_loader):
            print(running / every)  # BP204
            running = 0.0


def finds_the_last_window_of_an_epoch(model, train_loader, optimizer, every):
    total = 0.0
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item()
        if (i + 1) % every == 0:
            average = total / every
            total = 0.0
    print("epoch loss", average)  # BP204


def passes_a_window(model, train_loader, optimizer):
    running = 0.0
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if i % 2000 == 1999:
            print(running / 2000)
            running = 0.0


def passes_a_window_from_one(model, train_loader, optimizer):
    running = 0.0
    for i, (x, y) in enumerate(train_loader, start=1):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if i % 50 == 0:
            print(running / 50)
            running = 0.0


def passes_an_option(model, train_loader, optimizer, args):
    running = 0.0
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if (i + 1) % args.log_every == 0:
            print(running / args.log_every)
            running = 0.0


def passes_a_count_of_its_own(model, train_loader, optimizer):
    running, held = 0.0, 0
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        held += 1
        if i % 50 == 0:
            print(running / held)
            running, held = 0.0, 0


def passes_a_reset_under_the_same_test(model, train_loader, optimizer):
    running = 0.0
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if (i + 1) % 10 == 0:
            average = running / 10
            running = 0.0
            print(average)


def passes_the_last_batch_of_a_window(model, train_loader, optimizer):
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        if i % 50 == 0:
            print(loss.item())


def finds_a_first_report_left_out(model, train_loader, optimizer):
    running = 0.0
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if i > 0 and i % 50 == 0:
            print(running / 50)  # BP204
            running = 0.0


def passes_a_sum_that_begins_after_the_report(model, train_loader, optimizer):
    running = 0.0
    for i, (x, y) in enumerate(train_loader):
        if i > 0 and i % 50 == 0:
            print(running / 50)
            running = 0.0
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()


def passes_an_index_from_one(model, train_loader, optimizer):
    running = 0.0
    for i, (x, y) in enumerate(train_loader, 1):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if i > 0 and i % 50 == 0:
            print(running / 50)
            running = 0.0


def passes_a_smoothed_loss(model, train_loader, optimizer):
    smooth = 0.0
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        smooth = 0.9 * smooth + 0.1 * loss.item()
    return smooth


def misses_another_option(model, train_loader, optimizer, args):
    running = 0.0
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if (i + 1) % args.log_every == 0:
            print(running / args.batch_count)  # missed BP204
            running = 0.0


def misses_a_deque_that_is_too_long(model, train_loader, optimizer, deque):
    last = deque(maxlen=100)
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        last.append(loss.item())
        if (i + 1) % 50 == 0:
            print(sum(last) / 50)  # missed BP204


def passes_every_ten_steps_of_a_window(model, train_loader, optimizer, k):
    held, steps, running = 0, 0, 0.0
    for x, y in train_loader:
        loss = F.mse_loss(model(x), y) / k
        loss.backward()
        running += loss.item()
        held += 1
        if held == k:  # BP103
            optimizer.step()
            optimizer.zero_grad()
            held = 0
            steps += 1
            if steps % 10 == 0:
                print(running / 40)
                running = 0.0


def _sums(model, loader):
    sums = defaultdict(float)
    for x, y in loader:
        sums["loss"] += F.mse_loss(model(x), y, reduction="sum").item()
        sums["seen"] += len(x)
    return sums["loss"] / sums["seen"]


def passes_a_dict_that_begins_in_a_function(model, train_loader):
    for _ in range(3):
        print(_sums(model, train_loader))


TRAIN = False


def finds_a_sum_under_a_switch_that_is_off(model, train_loader, optimizer):
    if TRAIN:
        total = 0.0
        for _ in range(3):
            for x, y in train_loader:
                optimizer.zero_grad()
                loss = F.mse_loss(model(x), y)
                loss.backward()
                optimizer.step()
                total += loss.item()
            print(total / len(train_loader))  # BP201 likely, BP204


def finds_a_counter_of_all_epochs(model, train_loader, optimizer):
    batches = 0
    for epoch in range(10):
        running = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item()
            batches += 1
        print(epoch, running / batches)  # BP204


def passes_a_counter_that_each_epoch_begins(model, train_loader, optimizer):
    running, batches = 0.0, 0
    for epoch in range(10):
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item()
            batches += 1
        print(epoch, running / batches)  # BP201 likely
        running, batches = 0.0, 0


def passes_a_sum_that_is_set_to_0_after_its_division(model, train_loader, optimizer):
    running = 0.0
    for epoch in range(10):
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item()
        print(epoch, running / len(train_loader))  # BP201 likely
        running = 0.0


def passes_the_mean_of_all_epochs_so_far(model, train_loader, optimizer):
    running, batches = 0.0, 0
    for epoch in range(10):
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item()
            batches += 1
        print(epoch, running / batches)


def finds_a_sum_that_keeps_the_mean_of_the_last_epoch(model, train_loader, optimizer):
    running = 0.0
    for epoch in range(10):
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item()
        running = running / len(train_loader)  # BP204, BP201 likely
        print(epoch, running)


def finds_a_report_after_a_last_batch_by_number(model, train_loader, optimizer):
    running = 0.0
    for i, (x, y) in enumerate(train_loader, 0):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if i % 20 == 0 or i == 390:
            print(i, running / 20)  # BP204
            running = 0.0


def passes_a_report_after_a_last_batch_that_ends_a_window(model, train_loader, optimizer):
    running = 0.0
    for i, (x, y) in enumerate(train_loader, 1):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if i % 20 == 0 or i == 400:
            print(i, running / 20)
            running = 0.0


def finds_a_remainder_that_is_not_compared(model, train_loader, optimizer):
    running = 0.0
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if (i + 1) % 1000:
            print(i, running / 1000)  # BP204
            running = 0.0


def passes_a_remainder_that_is_negated(model, train_loader, optimizer):
    running = 0.0
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if not (i + 1) % 1000:
            print(i, running / 1000)
            running = 0.0


def finds_one_window_over_all_batches_so_far(model, train_loader, optimizer):
    running = 0.0
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running += loss.item()
        if i % 10 == 9:
            print(running / (i + 1))  # BP204
            running = 0.0


def passes_a_counter_that_begins_again_with_its_sum(model, train_loader, optimizer):
    running, n = 0.0, 0
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running += loss.item()
        n += 1
        if i % 10 == 9:
            print(running / n)
            running, n = 0.0, 0


def finds_the_rest_of_the_pass_before(model, train_loader, optimizer, every):
    running = 0.0
    for _ in range(10):
        for i, (x, y) in enumerate(train_loader):
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item()
            if (i + 1) % every == 0:
                print(running / every)  # BP204
                running = 0.0


def finds_a_first_window_that_a_counter_of_its_own_makes_longer(model, text, optimizer, every):
    running, batch, start = 0.0, 0, 0
    while start < len(text):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(text[start : start + 35]), text[start + 1 : start + 36])
        loss.backward()
        optimizer.step()
        running += loss.item()
        if batch % every == 0 and batch > 0:
            print(running / every)  # BP204
            running = 0.0
        batch += 1
        start += 35


def passes_a_sum_that_begins_with_its_pass(model, train_loader, optimizer, every):
    for _ in range(10):
        running = 0.0
        for i, (x, y) in enumerate(train_loader):
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item()
            if (i + 1) % every == 0:
                print(running / every)
                running = 0.0


def passes_a_counter_that_goes_on_with_its_sum(model, train_loader, optimizer, every):
    running, step = 0.0, 0
    for _ in range(10):
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item()
            step += 1
            if step % every == 0:
                print(running / every)
                running = 0.0


def passes_a_pass_of_whole_windows(model, optimizer):
    data = TensorDataset(torch.randn(6400, 8), torch.randn(6400, 1))
    loader = DataLoader(data, batch_size=64)
    running = 0.0
    for _ in range(10):
        for i, (x, y) in enumerate(loader):
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item()
            if i % 50 == 49:
                print(running / 50)
                running = 0.0


def finds_an_average_that_outgrows_its_pass(model, train_loader, optimizer):
    running = 0.0
    for _ in range(10):
        for i, (x, y) in enumerate(train_loader):
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item()
            if i % 50 == 49:
                print(running / (i + 1))  # BP204


def finds_a_sum_that_begins_where_its_counter_does_not(model, train_loader, optimizer, writer):
    step = 0
    for _ in range(10):
        running = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item()
            step += 1
            if step % 100 == 0:
                writer.add_scalar("loss", running / 100, step)  # BP204
                running = 0.0


def finds_a_first_report_of_a_numbered_zip(model, batches, optimizer):
    running = 0.0
    for i, (x, y) in zip(range(10000), batches(), strict=False):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if i % 100 == 0:
            print(running / 100)  # BP204
            running = 0.0


def passes_a_numbered_zip_from_one(model, batches, optimizer):
    running = 0.0
    for i, (x, y) in zip(range(1, 10001), batches(), strict=False):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if i % 100 == 0:
            print(running / 100)
            running = 0.0


def finds_a_long_first_window_of_all_passes(model, loader, optimizer, most, every):
    running, step = 0.0, 0
    while step < most:
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item()
            if step % every == 0 and step > 0:
                print(running / every)  # BP204
                running = 0.0
            step += 1


def finds_a_counter_that_is_one_ahead(model, loader, optimizer, every):
    running, step = 0.0, 0
    for _ in range(10):
        for x, y in loader:
            step += 1
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item()
            if (step + 1) % every == 0:
                print(running / every)  # BP204
                running = 0.0


def passes_a_counter_of_all_passes_that_is_raised_first(model, loader, optimizer, every):
    running, step = 0.0, 0
    for _ in range(10):
        for x, y in loader:
            step += 1
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item()
            if step % every == 0:
                print(running / every)
                running = 0.0


def passes_a_difference_from_the_last_report(model, loader, optimizer, criterion):
    total, logged = 0.0, 0.0
    for step, (x, y) in enumerate(loader):
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item()
        if (step + 1) % 50 == 0:
            print((total - logged) / 50)
            logged = total


EVERY = 100


def finds_another_number_than_a_name_holds(model, train_loader, optimizer):
    running = 0.0
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if i % EVERY == EVERY - 1:
            print(running / 10)  # BP204
            running = 0.0


def finds_the_rest_of_the_last_window(model, train_loader, optimizer):
    running = 0.0
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if i % 100 == 99:
            print(running / 100)
            running = 0.0
    return running  # BP204


def passes_a_sum_beside_that_of_a_window(model, train_loader, optimizer):
    running, total = 0.0, 0.0
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y, reduction="sum")
        loss.backward()
        optimizer.step()
        running += loss.item()
        total += loss.item()
        if i % 100 == 99:
            print(running)
            running = 0.0
    return total


def finds_one_window_over_a_counter_of_all(model, train_loader, optimizer):
    running, count = 0.0, 0
    for _ in range(10):
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item()
            count += 1
            if count % 50 == 0:
                print(running / count)  # BP204
                running = 0.0


def passes_a_counter_that_begins_again_by_number(model, train_loader, optimizer):
    running, count = 0.0, 0
    for _ in range(10):
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item()
            count += 1
            if count % 50 == 0:
                print(running / count)
                running, count = 0.0, 0


def finds_a_sum_that_begins_again_later(model, train_loader, optimizer):
    running = 0.0
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if i % 100 == 99:
            print(running / 100)  # BP204
        if i % 500 == 499:
            running = 0.0


def finds_one_more_than_a_window(model, train_loader, optimizer, every):
    running = 0.0
    for step, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if step % every == 0:
            if step > 0:
                running /= every + 1  # BP204
            print(running)
            running = 0.0


def passes_a_window_of_one_more(model, train_loader, optimizer, every):
    running = 0.0
    for step, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if (step + 1) % (every + 1) == 0:
            print(running / (every + 1))
            running = 0.0


def finds_one_more_than_a_counter_so_far(model, train_loader, optimizer):
    total, batches = 0.0, 0
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item()
        batches += 1
        if batches % 50 == 0:
            print(total / (batches + 1))  # BP204


def passes_one_more_than_a_counter_that_is_raised_later(model, train_loader, optimizer):
    total, batches = 0.0, 0
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item()
        if batches % 50 == 0:
            print(total / (batches + 1))
        batches += 1


def finds_a_length_that_the_loop_computes(model, rows, optimizer):
    running = 0.0
    for i, start in enumerate(range(0, len(rows) - 1, 20)):
        x, y = rows[start : start + 20].unbind(1)
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        every = int(len(rows) / 20 / 5)
        if i % every == 0 and i > 0:
            print(running / every)  # BP204
            running = 0.0


def finds_the_length_of_another_window(model, train_loader, optimizer, print_every, plot_every):
    shown, plotted, curve = 0.0, 0.0, []
    for i, (x, y) in enumerate(train_loader, 1):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        shown += loss.item()
        plotted += loss.item()
        if i % print_every == 0:
            print(shown / print_every)
            shown = 0.0
        if i % plot_every == 0:
            curve.append(plotted / print_every)  # BP204
            plotted = 0.0
    return curve


def passes_two_windows(model, train_loader, optimizer, print_every, plot_every):
    shown, plotted, curve = 0.0, 0.0, []
    for i, (x, y) in enumerate(train_loader, 1):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        shown += loss.item()
        plotted += loss.item()
        if i % print_every == 0:
            print(shown / print_every)
            shown = 0.0
        if i % plot_every == 0:
            curve.append(plotted / plot_every)
            plotted = 0.0
    return curve


def finds_a_length_that_each_batch_computes(model, train_loader, optimizer):
    total = 0.0
    for batch, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item()
        log_interval = int(len(train_loader) / 5)
        if batch % log_interval == 0 and batch > 0:
            print(total / log_interval)  # BP204
            total = 0.0


class CountsOn:
    def __init__(self, model, optimizer):
        self.model, self.optimizer, self.done = model, optimizer, 0

    def finds_a_sum_of_one_epoch_and_a_count_of_all(self, train_loader, epoch):
        total = 0.0
        for x, y in train_loader:
            self.optimizer.zero_grad()
            loss = F.mse_loss(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            total += loss.item()
            self.done += 1
            if self.done % 10 == 0:
                print(total / 10)  # BP204
                total = 0.0


def _train_one_epoch(model, train_loader, optimizer):
    running, last_loss = 0.0, 0.0
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if i % 1000 == 999:
            last_loss = running / 1000
            running = 0.0
    return last_loss  # BP204


def finds_the_last_window_that_a_function_gives(model, train_loader, optimizer, writer):
    for epoch in range(5):
        average = _train_one_epoch(model, train_loader, optimizer)
        print("epoch", epoch, "train loss", average)
        writer.add_scalar("train loss", average, epoch)


def _train_some_steps(model, train_loader, optimizer, every):
    running, last_loss = 0.0, 0.0
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
        if i % every == every - 1:
            last_loss = running / every
            running = 0.0
    return last_loss


def passes_the_last_window_that_is_called_so(model, train_loader, optimizer, every):
    for _ in range(5):
        last_loss = _train_some_steps(model, train_loader, optimizer, every)
        print("loss of the last steps", last_loss)


def finds_a_history_of_last_windows(model, train_loader, optimizer, every):
    history = []
    for _epoch in range(5):
        running, average = 0.0, 0.0
        for i, (x, y) in enumerate(train_loader):
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item()
            if (i + 1) % every == 0:
                average = running / every
                running = 0.0
        history.append(average)  # BP204
    return history


def passes_a_history_of_windows(model, train_loader, optimizer, every):
    history = []
    for _epoch in range(5):
        running = 0.0
        for i, (x, y) in enumerate(train_loader):
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item()
            if (i + 1) % every == 0:
                average = running / every
                running = 0.0
                history.append(average)
    return history
