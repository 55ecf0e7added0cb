"""First windows that end too early."""

import torch
import torch.nn.functional as F


def finds_an_index_from_zero(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        (F.mse_loss(model(x), y) / k).backward()
        if i % k == 0:  # BP103, BP104
            optimizer.step()
            optimizer.zero_grad()


def finds_an_option(model, train_loader, optimizer, args):
    for step, (x, y) in enumerate(train_loader):
        (F.mse_loss(model(x), y) / args.accumulate).backward()
        if step % args.accumulate == 0:  # BP103, BP104
            optimizer.step()
            optimizer.zero_grad()


def finds_one_too_many(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        (F.mse_loss(model(x), y) / k).backward()
        if (i + 2) % k == 0:  # BP103, BP104
            optimizer.step()
            optimizer.zero_grad()


def finds_a_count_from_one_raised_again(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader, 1):
        (F.mse_loss(model(x), y) / k).backward()
        if (i + 1) % k == 0:  # BP103, BP104
            optimizer.step()
            optimizer.zero_grad()


def finds_a_counter_raised_before_the_test(model, train_loader, optimizer, k):
    steps = 0
    for x, y in train_loader:
        (F.mse_loss(model(x), y) / k).backward()
        steps += 1
        if (steps + 1) % k == 0:  # BP103, BP104
            optimizer.step()
            optimizer.zero_grad()


def finds_a_counter_tested_before_it_is_raised(model, train_loader, optimizer, k):
    steps = 0
    for x, y in train_loader:
        (F.mse_loss(model(x), y) / k).backward()
        if steps % k == 0:  # BP103, BP104
            optimizer.step()
            optimizer.zero_grad()
        steps += 1


def finds_a_number(model, train_loader, optimizer):
    for i, (x, y) in enumerate(train_loader):
        (F.mse_loss(model(x), y) / 8).backward()
        if i % 8 == 0:  # BP103, BP104
            optimizer.step()
            optimizer.zero_grad()


def finds_a_scaler(model, train_loader, optimizer, k):
    scaler = torch.amp.GradScaler("cuda")
    for i, (x, y) in enumerate(train_loader):
        scaler.scale(F.mse_loss(model(x), y) / k).backward()
        if i % k == 0:  # BP103, BP104
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()


def finds_a_count_of_all_batches_by_its_formula(model, train_loader, optimizer, k):
    batches = len(train_loader)
    for epoch in range(10):
        for i, (x, y) in enumerate(train_loader):
            so_far = i + batches * epoch
            (F.mse_loss(model(x), y) / k).backward()
            if so_far % k == 0:  # BP104
                optimizer.step()
                optimizer.zero_grad()


def passes_a_count_of_all_batches_from_one(model, train_loader, optimizer, k):
    for epoch in range(10):
        for i, (x, y) in enumerate(train_loader):
            so_far = epoch * len(train_loader) + i + 1
            (F.mse_loss(model(x), y) / k).backward()
            if so_far % k == 0:
                optimizer.step()
                optimizer.zero_grad()


def passes_a_count_of_all_batches_from_the_second_epoch(model, train_loader, optimizer, k):
    for epoch in range(1, 10):
        for i, (x, y) in enumerate(train_loader):
            so_far = epoch * len(train_loader) + i
            (F.mse_loss(model(x), y) / k).backward()
            if so_far % k == 0:
                optimizer.step()
                optimizer.zero_grad()


def passes_an_index_plus_one(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        (F.mse_loss(model(x), y) / k).backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_a_remainder(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        (F.mse_loss(model(x), y) / k).backward()
        if i % k == k - 1:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_a_count_from_one(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader, start=1):
        (F.mse_loss(model(x), y) / k).backward()
        if i % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_a_counter(model, train_loader, optimizer, k):
    steps = 0
    for x, y in train_loader:
        (F.mse_loss(model(x), y) / k).backward()
        steps += 1
        if steps % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_a_counter_raised_later(model, train_loader, optimizer, k):
    steps = 0
    for x, y in train_loader:
        (F.mse_loss(model(x), y) / k).backward()
        if (steps + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
        steps += 1


def passes_a_report(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        if i % k == 0:
            print(loss.item())


def passes_zeroing_at_the_start(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        if i % k == 0:
            optimizer.zero_grad()
        (F.mse_loss(model(x), y) / k).backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()


def passes_a_not(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        (F.mse_loss(model(x), y) / k).backward()
        if not (i + 1) % k:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_a_generator_that_steps_less_often(generator, critic, loader, optimizers, k):
    optimizer_g, optimizer_c = optimizers
    for i, x in enumerate(loader):
        optimizer_c.zero_grad()
        (critic(generator(x).detach()).mean() - critic(x).mean()).backward()
        optimizer_c.step()
        if i % k == 0:
            optimizer_g.zero_grad()
            (-critic(generator(x)).mean()).backward()
            optimizer_g.step()


def passes_a_policy_that_trains_every_k_steps(policy, memory, optimizer, args):
    for step in range(args.steps):
        memory.act(policy)
        if step % args.train_frequency == 0:
            x, y = memory.sample()
            optimizer.zero_grad()
            F.mse_loss(policy(x), y).backward()
            optimizer.step()


def misses_a_window_that_is_too_long(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        (F.mse_loss(model(x), y) / k).backward()
        if i > 0 and i % k == 0:  # BP103, missed BP104
            optimizer.step()
            optimizer.zero_grad()


def misses_a_counter_from_outside(model, train_loader, optimizer, k, state):
    for x, y in train_loader:
        (F.mse_loss(model(x), y) / k).backward()
        if state.step % k == 0:  # missed BP104
            optimizer.step()
            optimizer.zero_grad()
        state.step += 1


def finds_a_bare_remainder_of_a_counter_from_0(model, train_loader, optimizer, k):
    step = 0
    for x, y in train_loader:
        (F.mse_loss(model(x), y) / k).backward()
        if step % k:  # BP103, BP104
            pass
        else:
            optimizer.step()
            optimizer.zero_grad()
        step += 1


def passes_a_bare_remainder_of_one_more(model, train_loader, optimizer, k):
    step = 0
    for x, y in train_loader:
        (F.mse_loss(model(x), y) / k).backward()
        if (step + 1) % k:
            step += 1
            continue
        optimizer.step()
        optimizer.zero_grad()
        step += 1


def finds_a_count_over_all_epochs_that_is_raised_after_the_test(model, train_loader, optimizer, k):
    step = 0
    for _epoch in range(10):
        for x, y in train_loader:
            (F.mse_loss(model(x), y) / k).backward()
            if step % k == 0:  # BP104
                optimizer.step()
                optimizer.zero_grad()
            step += 1


def passes_a_count_over_all_epochs_that_is_raised_before_the_test(model, train_loader, optimizer):
    step = 0
    for _epoch in range(10):
        for x, y in train_loader:
            (F.mse_loss(model(x), y) / 8).backward()
            step += 1
            if step % 8 == 0:
                optimizer.step()
                optimizer.zero_grad()


def finds_a_counter_that_begins_again_after_an_evaluation(model, train_loader, optimizer, k, args):
    steps, seen = 0, 0
    for _ in range(args.epochs):
        for x, y in train_loader:
            loss = F.mse_loss(model(x), y) / k
            seen += len(x)
            steps += 1
            loss.backward()
            if (steps + 1) % k == 0:  # BP104
                optimizer.step()
                optimizer.zero_grad()
        if args.evaluates:
            print(seen)
            steps, seen = 0, 0


def passes_a_counter_that_begins_again_after_an_evaluation(model, train_loader, optimizer, k, args):
    steps, seen = 0, 0
    for _ in range(args.epochs):
        for x, y in train_loader:
            loss = F.mse_loss(model(x), y) / k
            seen += len(x)
            steps += 1
            loss.backward()
            if steps % k == 0:
                optimizer.step()
                optimizer.zero_grad()
        if args.evaluates:
            print(seen)
            steps, seen = 0, 0


def passes_a_window_that_grows_from_one(model, train_loader, optimizer, growth, limit):
    for i, (x, y) in enumerate(train_loader):
        if i < 1000:
            k = max(1, min(limit, i // growth))
        F.mse_loss(model(x), y).backward()  # BP105 likely
        if i % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()
