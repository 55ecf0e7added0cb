"""Terms of one objective of which only some are divided by the accumulation steps."""

import torch
import torch.nn.functional as F


def finds_a_term_added_later(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) / k
        loss = loss + F.l1_loss(model(x), y)  # BP112
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_a_term_added_in_place(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) / k
        loss += F.l1_loss(model(x), y)  # BP112
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_one_expression(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        first, second = model(x)
        loss = F.mse_loss(first, y) / k + F.mse_loss(second, y)  # BP112
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_two_backward_passes(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        first, second = model(x)
        loss = F.mse_loss(first, y) / k
        extra = F.l1_loss(second, y)
        loss.backward(retain_graph=True)
        extra.backward()  # BP112
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_a_loop_over_micro_batches(model, get_batch, optimizer, k):
    for _ in range(1000):
        for _ in range(k):
            x, y = get_batch("train")
            loss = F.mse_loss(model(x), y) / k
            loss = loss + F.l1_loss(model(x), y)  # BP112
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def finds_an_option(model, train_loader, optimizer, args):
    for i, (x, y) in enumerate(train_loader):
        loss = F.cross_entropy(model(x), y)
        loss = loss / args.gradient_accumulation_steps
        total = loss + F.mse_loss(model(x), y)  # BP112
        total.backward()
        if (i + 1) % args.gradient_accumulation_steps == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_the_other_order(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        first, second = model(x)
        loss = F.mse_loss(first, y) + F.mse_loss(second, y) / k  # BP112
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_a_coefficient(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        first, second = model(x)
        loss = F.mse_loss(first, y) / k + 0.1 * F.mse_loss(second, y)  # BP112
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_a_sum_divided(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        first, second = model(x)
        loss = (F.mse_loss(first, y) + F.mse_loss(second, y)) / k
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_both_divided(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        first, second = model(x)
        loss = F.mse_loss(first, y) / k + F.mse_loss(second, y) / k
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_two_passes_divided(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        first, second = model(x)
        (F.mse_loss(first, y) / k).backward(retain_graph=True)
        (F.l1_loss(second, y) / k).backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_a_temperature(model, train_loader, optimizer, temperature):
    for x, y in train_loader:
        optimizer.zero_grad()
        first, second = model(x)
        loss = F.mse_loss(first, y) / temperature + F.mse_loss(second, y)
        loss.backward()
        optimizer.step()


def passes_a_report(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        first, second = model(x)
        main, extra = F.mse_loss(first, y), F.mse_loss(second, y)
        loss = (main + extra) / k
        loss.backward()
        print(main.item() + extra.item())
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_a_mean_of_two_heads(model, train_loader, optimizer):
    for x, y in train_loader:
        optimizer.zero_grad()
        first, second = model(x)
        loss = F.mse_loss(first, y) / 2 + F.mse_loss(second, y) / 2
        loss.backward()
        optimizer.step()


def passes_terms_before_the_division(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y)
        loss += F.l1_loss(model(x), y)
        loss = loss / k
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def passes_a_term_without_gradient(model, train_loader, optimizer, k):
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) / k
        loss.backward()
        shown = loss.item() * k + F.l1_loss(model(x), y).item()
        print(shown)
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def misses_a_penalty_of_its_own(model, train_loader, optimizer, k, penalty):
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y) / k
        loss = loss + penalty(model)  # missed BP112
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_a_factor(model, train_loader, optimizer, k):
    share = 1.0 / k
    for i, (x, y) in enumerate(train_loader):
        first, second = model(x)
        loss = F.mse_loss(first, y) * share + F.mse_loss(second, y)  # BP112
        loss.backward()
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def misses_a_factor(model, train_loader, optimizer, k):
    share = k**-1
    for i, (x, y) in enumerate(train_loader):
        first, second = model(x)
        loss = F.mse_loss(first, y) * share + F.mse_loss(second, y)  # missed BP112
        loss.backward()  # BP105 likely
        if (i + 1) % k == 0:  # BP103
            optimizer.step()
            optimizer.zero_grad()


def finds_a_sum_beside_a_mean(model, train_loader, optimizer):
    for x, _ in train_loader:
        optimizer.zero_grad()
        decoded, mean, log_variance = model(x)
        error = F.mse_loss(decoded, x)
        divergence = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
        loss = error + divergence  # BP112
        loss.backward()
        optimizer.step()


def finds_a_mean_beside_a_sum(model, train_loader, optimizer):
    for x, _ in train_loader:
        optimizer.zero_grad()
        decoded, mean, log_variance = model(x)
        error = F.binary_cross_entropy(decoded, x, reduction="sum")
        terms = torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp(), dim=1)
        loss = error + torch.mean(-0.5 * terms)  # BP112
        loss.backward()
        optimizer.step()


def passes_a_strength_out_of_sight(model, train_loader, optimizer, strength):
    for x, _ in train_loader:
        optimizer.zero_grad()
        decoded, mean, log_variance = model(x)
        divergence = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
        loss = F.mse_loss(decoded, x) + strength * divergence
        loss.backward()
        optimizer.step()


def finds_a_strength_in_sight(model, train_loader, optimizer):
    for x, _ in train_loader:
        optimizer.zero_grad()
        decoded, mean, log_variance = model(x)
        divergence = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
        loss = F.mse_loss(decoded, x) + 0.1 * divergence  # BP112
        loss.backward()
        optimizer.step()


def passes_two_sums(model, train_loader, optimizer):
    for x, _ in train_loader:
        optimizer.zero_grad()
        decoded, mean, log_variance = model(x)
        divergence = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
        loss = F.mse_loss(decoded, x, reduction="sum") + divergence
        loss.backward()
        optimizer.step()


def passes_a_sum_over_the_batch_size(model, train_loader, optimizer):
    for x, _ in train_loader:
        optimizer.zero_grad()
        decoded, mean, log_variance = model(x)
        divergence = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
        loss = F.mse_loss(decoded, x) + divergence / x.size(0)
        loss.backward()
        optimizer.step()


def passes_a_penalty_on_weights(model, train_loader, optimizer):
    for x, y in train_loader:
        optimizer.zero_grad()
        penalty = sum(p.square().sum() for p in model.parameters())
        loss = F.mse_loss(model(x), y) + 0.01 * penalty
        loss.backward()
        optimizer.step()


def passes_sums_that_are_only_reported(model, train_loader, optimizer):
    for x, _ in train_loader:
        optimizer.zero_grad()
        decoded, mean, log_variance = model(x)
        divergence = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
        error = F.mse_loss(decoded, x)
        error.backward()
        print(error.item() + divergence.item())
        optimizer.step()
