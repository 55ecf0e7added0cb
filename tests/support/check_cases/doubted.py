"""Right steps that people doubt, and steps with mistakes that no table of laws lists."""

import copy
import math
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

G = torch.Generator().manual_seed(5)
TABLE = [(torch.randn(4, generator=G), torch.tensor(i % 3)) for i in range(8)]
PAIRS = [(torch.randn(4, generator=G), torch.randn(3, generator=G)) for _ in range(8)]
RAGGED = [
    (torch.randn(7, 4, generator=G), torch.randint(3, (7,), generator=G), torch.arange(7) < n)
    for n in (2, 7, 1, 5, 3, 6, 4)
]
SPOKEN = [
    (torch.randn(6, 4, generator=G), torch.randint(1, 3, (2,), generator=G)) for _ in range(6)
]
# elements that a loss ignores by a value of its own, and by the class after the last
VOID, BLANK = 255, 3
SEGMENTED = [(x, torch.where(mask, y, VOID)) for x, y, mask in RAGGED]
BLANKED = [(x, torch.where(mask, y, BLANK)) for x, y, mask in RAGGED]
CLASS_WEIGHTS = torch.tensor([0.3, 1.0, 2.5])


def linear(out=3, optimizer=torch.optim.SGD, **settings):
    torch.manual_seed(1)
    model = nn.Linear(4, out)
    return model, optimizer(model.parameters(), **({"lr": 0.1} | settings))


def size(batches):
    return sum(len(batch[0]) for batch in batches)


def stepping(body):
    """A step of what body adds for each micro-batch: body(model, batch, all) -> a loss."""

    def run(model, optimizer, batches):
        optimizer.zero_grad()
        total = 0.0
        for batch in batches:
            loss = body(model, batch, batches)
            loss.backward()
            total += loss.item()
        optimizer.step()
        return total

    return run


def tokens(model, batch, weights=None):
    x, y, mask = batch
    losses = F.cross_entropy(model(x).transpose(1, 2), y, reduction="none", weight=weights)
    return losses * mask


def samples_mean(m, b, all_):
    return F.cross_entropy(m(b[0]), b[1], reduction="sum") / size(all_)


def mean_times_n(m, b, all_):
    return F.cross_entropy(m(b[0]), b[1]) * len(b[0]) / size(all_)


def world_factor(m, b, all_):
    world = len(all_)
    return F.cross_entropy(m(b[0]), b[1], reduction="sum") / size(all_) * world / world


def undivided_sum(m, b, _):
    return F.mse_loss(m(b[0]), b[1], reduction="sum")


def own_length(m, b, all_):
    return (tokens(m, b).sum(1) / b[2].sum(1)).sum() / size(all_)


def token_mean(m, b, all_):
    return tokens(m, b).sum() / sum(c[2].sum() for c in all_)


def ignoring(value):
    def body(m, b, all_):
        losses = F.cross_entropy(m(b[0]).transpose(1, 2), b[1], ignore_index=value, reduction="sum")
        return losses / sum((c[1] != value).sum() for c in all_)

    return body


def ignoring_in_means(value):
    def body(m, b, all_):
        return F.cross_entropy(m(b[0]).transpose(1, 2), b[1], ignore_index=value) / len(all_)

    return body


def over_all_and_one(m, b, all_):
    return tokens(m, b).sum() / (1 + sum(c[2].sum() for c in all_))


def token_sum_by_responses(m, b, all_):
    return tokens(m, b).sum() / size(all_)


def fixed_length(m, b, all_):
    return tokens(m, b).sum() / (b[2].shape[1] * size(all_))


def focal_by_image(m, b, all_):
    log = m(b[0]).log_softmax(-1).gather(1, b[1][:, None])[:, 0]
    return -((1 - log.exp()) ** 2 * log).sum() / size(all_)


def ctc(m, b, all_):
    x, y = b
    log = m(x).log_softmax(-1).transpose(0, 1)
    lengths = torch.full((len(x),), x.shape[1]), torch.full((len(x),), y.shape[1])
    losses = F.ctc_loss(log, y, *lengths, reduction="none")
    return (losses / y.shape[1]).sum() / size(all_)


def class_weights(m, b, all_):
    weight = CLASS_WEIGHTS.to(b[0].dtype)
    total = sum(weight[c[1]].sum() for c in all_)
    return F.cross_entropy(m(b[0]), b[1], weight=weight, reduction="sum") / total


def smoothed(m, b, all_):
    return F.cross_entropy(m(b[0]), b[1], reduction="sum", label_smoothing=0.1) / size(all_)


def huber(m, b, all_):
    return F.huber_loss(m(b[0]), b[1], reduction="sum") / (3 * size(all_))


def with_decay(m, b, all_):
    decay = 0.01 * sum((p**2).sum() for p in m.parameters())
    return samples_mean(m, b, all_) + decay * len(b[0]) / size(all_)


def two_means(m, b, all_):
    z = m(b[0]).logsumexp(-1).square().sum() / size(all_)
    return samples_mean(m, b, all_) + 0.1 * z


def distilled(m, b, all_):
    teacher = (b[0] @ torch.ones(4, 3, dtype=b[0].dtype)).softmax(-1)
    return F.kl_div(m(b[0]).log_softmax(-1), teacher, reduction="sum") / size(all_)


def surrogate(m, b, all_):
    log = m(b[0]).log_softmax(-1).gather(1, b[1][:, None])[:, 0]
    return -((log - log.detach()).exp() * (b[1] - 1.0)).sum() / size(all_)


def stopped(m, b, all_):
    out = m(b[0])
    return (out - (0.9 * out + b[1]).detach()).square().sum() / size(all_)


def by_closure(model, optimizer, batches):
    def closure():
        optimizer.zero_grad()
        total = 0.0
        for batch in batches:
            loss = samples_mean(model, batch, batches)
            loss.backward()
            total += loss.item()
        return total

    return optimizer.step(closure)


def cached_contrast(model, optimizer, batches):
    """Representations first, the loss of all, then each micro-batch's own part of it."""
    optimizer.zero_grad()
    with torch.no_grad():
        every = [model(x) for x, _ in batches]
    keys = torch.cat([y for _, y in batches])
    z = torch.cat(every).requires_grad_()
    loss = F.cross_entropy(z @ keys.T, torch.arange(len(z)))
    loss.backward()
    at = 0
    for x, _ in batches:
        model(x).backward(z.grad[at : at + len(x)])
        at += len(x)
    optimizer.step()
    return loss.item()


def gathered(model, optimizer, batches):
    optimizer.zero_grad()
    parts = [model(x) for x, _ in batches]
    keys = torch.cat([y for _, y in batches])
    for own in range(len(parts)):
        every = torch.cat([z if i == own else z.detach() for i, z in enumerate(parts)])
        F.cross_entropy(every @ keys.T, torch.arange(len(every))).backward()
    optimizer.step()


def divided_after(model, optimizer, batches):
    optimizer.zero_grad()
    for x, y in batches:
        F.cross_entropy(model(x), y, reduction="sum").backward()
    for param in model.parameters():
        param.grad /= size(batches)
    optimizer.step()


def scaled_for_half(model, optimizer, batches):
    optimizer.zero_grad()
    for batch in batches:
        (samples_mean(model, batch, batches) * 1024).backward()
    for param in model.parameters():
        param.grad /= 1024
    optimizer.step()


def pieces_of_one(model, optimizer, batches):
    optimizer.zero_grad()
    x, y = (torch.cat([b[i] for b in batches]) for i in (0, 1))
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def clipping(clip, *, each=False):
    """A step that clips once, or after every micro-batch."""

    def run(model, optimizer, batches):
        optimizer.zero_grad()
        for batch in batches:
            samples_mean(model, batch, batches).backward()
            if each:
                clip(model)
        if not each:
            clip(model)
        optimizer.step()

    return run


def clip_tensors(model):
    for param in model.parameters():
        nn.utils.clip_grad_norm_(param, 0.02)


def clip_tensors_by_hand(model):
    for param in model.parameters():
        size = param.grad.norm()
        if size > 0.02:
            param.grad *= 0.02 / size


def two_passes(model, optimizer, batches):
    """Its own two terms, in two passes, of which one is reported."""
    optimizer.zero_grad()
    total = 0.0
    for batch in batches:
        loss = samples_mean(model, batch, batches)
        loss.backward()
        (0.1 * model(batch[0]).square().sum() / size(batches)).backward()
        total += loss.item()
    optimizer.step()
    return total


def averaged_once(model, optimizer, batches):
    loss = stepping(samples_mean)(model, optimizer, batches)
    with torch.no_grad():
        for slow, fast in zip(model.slow.parameters(), model.fast.parameters(), strict=True):
            slow.lerp_(fast, 0.1)
    return loss


class Averaged(nn.Module):
    def __init__(self):
        super().__init__()
        self.fast = nn.Linear(4, 3)
        self.slow = copy.deepcopy(self.fast).requires_grad_(False)

    def forward(self, x):
        return self.fast(x)


def averaging():
    torch.manual_seed(1)
    model = Averaged()
    return model, torch.optim.SGD(model.fast.parameters(), lr=0.1)


def by_class_counts_of_all(m, b, all_):
    counts = torch.bincount(torch.cat([c[1] for c in all_]), minlength=3).clamp(min=1).to(b[0])
    return (F.cross_entropy(m(b[0]), b[1], reduction="none") / counts[b[1]]).sum()


def sharpness_aware(model, optimizer, batches):
    """Takes the gradient at the worst point nearby, whose direction is the gradient of all."""
    optimizer.zero_grad()
    for batch in batches:
        samples_mean(model, batch, batches).backward()
    params = list(model.parameters())
    norm = torch.stack([p.grad.norm() for p in params]).norm()
    away = [0.05 / norm * p.grad for p in params]
    with torch.no_grad():
        for param, step in zip(params, away, strict=True):
            param.add_(step)
    loss = 0.0
    optimizer.zero_grad()
    for batch in batches:
        part = samples_mean(model, batch, batches)
        part.backward()
        loss += part.item()
    with torch.no_grad():
        for param, step in zip(params, away, strict=True):
            param.sub_(step)
    optimizer.step()


def with_gradient_penalty(m, b, all_):
    x = b[0].clone().requires_grad_()
    (slope,) = torch.autograd.grad(m(x)[:, 0].sum(), x, create_graph=True)
    penalty = (slope.norm(dim=1) - 1).square().sum() / size(all_)
    return samples_mean(m, b, all_) + 0.1 * penalty


def advantages_over_window(model, optimizer, batches):
    """Rewards standardised over all micro-batches, as they are meant to be."""
    optimizer.zero_grad()
    rewards = torch.cat([y[:, 0] for _, y in batches])
    mean, spread = rewards.mean(), rewards.std(unbiased=False) + 1e-6
    for x, y in batches:
        log = model(x).log_softmax(-1)[:, 0]
        (-((y[:, 0] - mean) / spread * log).sum() / size(batches)).backward()
    optimizer.step()


class Intricate(nn.Module):
    """Weight norm, weights used twice, dropout, and activations computed again."""

    def __init__(self):
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
        self.drop = nn.Dropout(0.2)

    def forward(self, x):
        hidden = checkpoint(lambda z: self.drop(self.first(z)), x, use_reentrant=False)
        return hidden.tanh() @ self.first.weight @ self.first.weight.T


def intricate():
    torch.manual_seed(1)
    model = Intricate()
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


RIGHT = {
    "a sum over samples": (stepping(samples_mean), TABLE),
    "means times their size": (stepping(mean_times_n), TABLE),
    "times the world size, averaged over ranks": (stepping(world_factor), TABLE),
    "sums without division": (stepping(undivided_sum), PAIRS),
    "sums without division in float32": (stepping(undivided_sum), PAIRS, torch.float32),
    "over each response's own length": (stepping(own_length), RAGGED),
    "over tokens": (stepping(token_mean), RAGGED),
    "sums of tokens over responses": (stepping(token_sum_by_responses), RAGGED),
    "over the longest length allowed": (stepping(fixed_length), RAGGED),
    "over tokens in float32": (stepping(token_mean), RAGGED, torch.float32),
    "focal loss by image": (stepping(focal_by_image), TABLE),
    "ctc": (stepping(ctc), SPOKEN),
    "class weights pooled": (stepping(class_weights), TABLE),
    "label smoothing": (stepping(smoothed), TABLE),
    "huber": (stepping(huber), PAIRS),
    "weight decay by hand": (stepping(with_decay), TABLE),
    "two means": (stepping(two_means), TABLE),
    "distillation": (stepping(distilled), TABLE),
    "a policy's surrogate": (stepping(surrogate), TABLE),
    "a target held constant": (stepping(stopped), PAIRS),
    "a closure": (by_closure, TABLE),
    "cached contrastive gradients": (cached_contrast, PAIRS),
    "gathered embeddings": (gathered, PAIRS),
    "divided after the window": (divided_after, TABLE),
    "a loss scaler by hand": (scaled_for_half, TABLE),
    "one batch of all": (pieces_of_one, TABLE),
    "a label of its own ignored": (stepping(ignoring(VOID)), SEGMENTED),
    "the class after the last ignored": (stepping(ignoring(BLANK)), BLANKED),
    "a constant below the mean": (stepping(over_all_and_one), RAGGED),
    "tensors clipped apart, once": (clipping(clip_tensors), TABLE),
    "tensors clipped apart by hand, once": (clipping(clip_tensors_by_hand), TABLE),
    "two passes of its own": (two_passes, TABLE),
    "an average moved once": (averaged_once, TABLE, torch.float64, averaging),
    "lbfgs": (by_closure, TABLE, torch.float64, partial(linear, optimizer=torch.optim.LBFGS)),
    "momentum": (stepping(samples_mean), TABLE, torch.float64, partial(linear, momentum=0.9)),
    "classes weighed by counts of all": (stepping(by_class_counts_of_all), TABLE),
    "sharpness-aware": (sharpness_aware, TABLE),
    "a gradient penalty by sample": (stepping(with_gradient_penalty), TABLE),
    "advantages over the window": (advantages_over_window, PAIRS),
    "sums without division in bfloat16": (stepping(undivided_sum), PAIRS, torch.bfloat16),
    "weight norm, tied, checkpointed": (stepping(samples_mean), TABLE, torch.float64, intricate),
}


def last_over_all(model, optimizer, batches):
    optimizer.zero_grad()
    for batch in batches:
        model.zero_grad()
        samples_mean(model, batch, batches).backward()
    optimizer.step()


def weights_by_counts(m, b, all_):
    weight = CLASS_WEIGHTS.to(b[0].dtype)
    return F.cross_entropy(m(b[0]), b[1], weight=weight) * len(b[0]) / size(all_)


def over_k_again(m, b, all_):
    return samples_mean(m, b, all_) / len(all_)


def one_more_each(m, b, all_):
    return F.cross_entropy(m(b[0]), b[1], reduction="sum") / (size(all_) + len(all_))


def one_less_each(m, b, all_):
    return F.cross_entropy(m(b[0]), b[1], reduction="sum") / (size(all_) + 4 - len(all_))


def images_times_mean(m, b, _):
    return tokens(m, b).sum() / b[2].sum() * len(b[0])


def mean_beside_sum(m, b, all_):
    out = m(b[0])
    return (F.cross_entropy(out[:, :3], b[1]) + 0.1 * out[:, 3].square().sum()) / len(all_)


def mean_beside_sum_undivided(m, b, _):
    out = m(b[0])
    return F.cross_entropy(out[:, :3], b[1]) + 0.1 * out[:, 3].square().sum()


def clipped_before(model, optimizer, batches):
    optimizer.zero_grad()
    for batch in batches:
        nn.utils.clip_grad_norm_(model.parameters(), 0.05)
        samples_mean(model, batch, batches).backward()
    optimizer.step()


def full_ones_only(model, optimizer, batches):
    optimizer.zero_grad()
    most = max(len(x) for x, _ in batches)
    for x, y in batches:
        if len(x) == most:
            (F.cross_entropy(model(x), y, reduction="sum") / size(batches)).backward()
    optimizer.step()


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.actor, self.critic = nn.Linear(4, 4), nn.Linear(4, 3)


def actor_leaves_gradient(model, optimizer, batches):
    optimizer.zero_grad()
    total = 0.0
    for x, y in batches:
        (-model.critic(model.actor(x)).sum() / size(batches)).backward()
        loss = F.cross_entropy(model.critic(x), y, reduction="sum") / size(batches)
        loss.backward()
        total += loss.item()
    optimizer.step()
    return total


def critic():
    torch.manual_seed(1)
    model = Critic()
    return model, torch.optim.SGD(model.critic.parameters(), lr=0.1)


def averaged_each(model, optimizer, batches):
    optimizer.zero_grad()
    for batch in batches:
        samples_mean(model, batch, batches).backward()
        with torch.no_grad():
            for slow, fast in zip(model.slow.parameters(), model.fast.parameters(), strict=True):
                slow.lerp_(fast + 1.0, 0.1)
    optimizer.step()


def means_over_one_more(m, b, all_):
    return tokens(m, b).sum() / (b[2].sum() + 1) / len(all_)


def means_over_half_more(m, b, all_):
    return F.cross_entropy(m(b[0]), b[1], reduction="sum") / (len(b[0]) + 0.5) / len(all_)


def undivided_over_one_more(m, b, _):
    return tokens(m, b).sum() / (b[2].sum() + 1)


def decaying(decay, start):
    """Averages gradients exponentially: from the first, from 0, or from 0 and corrected."""

    def run(model, optimizer, batches):
        averages = None
        for batch in batches:
            optimizer.zero_grad()
            F.cross_entropy(model(batch[0]), batch[1]).backward()
            grads = [p.grad.clone() for p in model.parameters()]
            if averages is None:
                averages = grads if start == "first" else [(1 - decay) * g for g in grads]
            else:
                pairs = zip(averages, grads, strict=True)
                averages = [decay * a + (1 - decay) * g for a, g in pairs]
        whole = 1 - decay ** len(batches) if start == "corrected" else 1
        for param, average in zip(model.parameters(), averages, strict=True):
            param.grad = average / whole
        optimizer.step()

    return run


def repeated(order, share):
    """Lays micro-batches of a window in another order, each with its share of the loss."""

    def run(model, optimizer, batches):
        optimizer.zero_grad()
        for batch in order(batches):
            share(model, batch, batches).backward()
        optimizer.step()

    return run


def last_again(batches):
    return [*batches, batches[-1]]


def first_again(batches):
    return [batches[0], *batches]


def over_longest(m, b, all_):
    longest = int(b[2].sum(1).max())
    return tokens(m, b)[:, :longest].mean() * len(b[0]) / size(all_)


def over_longest_of_all(m, b, all_):
    return tokens(m, b).sum() / sum(len(c[0]) * c[2].sum(1).max() for c in all_)


def by_class_counts(m, b, all_):
    counts = torch.bincount(b[1], minlength=3).clamp(min=1).to(b[0])
    return (F.cross_entropy(m(b[0]), b[1], reduction="none") / counts[b[1]]).sum() / len(all_)


def rare_ones_more(m, b, all_):
    y = (b[1] == 1).to(b[0])
    weight = (len(y) - y.sum() + 1) / y.sum().clamp(min=1)
    return F.binary_cross_entropy_with_logits(m(b[0])[:, 0], y, pos_weight=weight) / len(all_)


# above what some batches give, and below what others do
HINGE = 0.13


def hinge_of_mean(m, b, all_):
    return F.relu(m(b[0]).square().mean() - HINGE) / len(all_)


def times_k(m, b, all_):
    return samples_mean(m, b, all_) * len(all_)


def over_root_k(m, b, all_):
    return samples_mean(m, b, all_) / len(all_) ** 0.5


def three_terms(m, b, all_):
    """Tokens by means, a penalty over all tokens, and one over samples."""
    out = m(b[0])
    losses = F.cross_entropy(out[..., :3].transpose(1, 2), b[1], reduction="none") * b[2]
    penalty = (out[..., 3].square() * b[2]).sum() / sum(c[2].sum() for c in all_)
    by_sample = out[..., 4].square().mean(1).sum() / size(all_)
    return losses.sum() / b[2].sum() / len(all_) + 0.3 * penalty + 0.1 * by_sample


def moving_baseline(model, optimizer, batches):
    """A baseline that is an average of the rewards so far."""
    optimizer.zero_grad()
    baseline = 0.0
    for x, y in batches:
        rewards = y[:, 0]
        log = model(x).log_softmax(-1)[:, 0]
        (-(log * (rewards - baseline)).sum() / size(batches)).backward()
        baseline = 0.9 * baseline + 0.1 * rewards.mean().item()
    optimizer.step()


def over_largest_so_far(model, optimizer, batches):
    optimizer.zero_grad()
    largest = 0.0
    for batch in batches:
        largest = max(largest, F.cross_entropy(model(batch[0]), batch[1]).item())
        (samples_mean(model, batch, batches) / largest).backward()
    optimizer.step()


def clipped_before_by_hand(model, optimizer, batches):
    optimizer.zero_grad()
    for batch in batches:
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        if grads:
            norm = torch.stack([grad.norm() for grad in grads]).norm()
            for grad in grads:
                grad.mul_(min(1.0, 0.03 / norm))
        samples_mean(model, batch, batches).backward()
    optimizer.step()


def spectral():
    torch.manual_seed(1)
    layer = nn.Linear(4, 4)
    # of singular values that are near to each other, which a power iteration tells apart slowly
    nn.init.orthogonal_(layer.weight).data.add_(0.1 * torch.randn(4, 4))
    layer = nn.utils.parametrizations.spectral_norm(layer)
    model = nn.Sequential(layer, nn.Tanh(), nn.Linear(4, 3))
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


WIDE = partial(linear, 4)
PLANTED = {
    "the last over all": (last_over_all, TABLE, "one-micro-batch-only"),
    "class weights, pooled by counts": (stepping(weights_by_counts), TABLE,
                                        "weight-per-micro-batch"),
    "over all, and over k again": (stepping(over_k_again), TABLE, "divided-twice"),
    "one more each": (stepping(one_more_each), TABLE, "wrong-divisor"),
    "one less each": (stepping(one_less_each), TABLE, "wrong-divisor"),
    "images times a mean": (stepping(images_times_mean), RAGGED, "mean-of-micro-batch-means"),
    "a mean beside a sum": (stepping(mean_beside_sum), TABLE, "term-scaled-apart", WIDE),
    "a mean beside a sum, undivided": (stepping(mean_beside_sum_undivided), TABLE,
                                       "term-scaled-apart", WIDE),
    "a label of its own ignored": (stepping(ignoring_in_means(VOID)), SEGMENTED,
                                   "mean-of-micro-batch-means"),
    "the class after the last ignored": (stepping(ignoring_in_means(BLANK)), BLANKED,
                                         "mean-of-micro-batch-means"),
    "means over one more": (stepping(means_over_one_more), RAGGED, "mean-of-micro-batch-means"),
    "means over half more": (stepping(means_over_half_more), TABLE, "mean-of-micro-batch-means"),
    "undivided, over one more": (stepping(undivided_over_one_more), RAGGED, "not-divided"),
    "an exponential average from 0": (decaying(0.8, "zero"), TABLE, "mean-of-micro-batch-means"),
    "an exponential average from the first": (decaying(0.7, "first"), TABLE,
                                              "mean-of-micro-batch-means"),
    "an exponential average, corrected": (decaying(0.6, "corrected"), TABLE,
                                          "mean-of-micro-batch-means"),
    "tensors clipped apart": (clipping(clip_tensors, each=True), TABLE,
                              "clipped-per-micro-batch"),
    "tensors clipped apart by hand": (clipping(clip_tensors_by_hand, each=True), TABLE,
                                      "clipped-per-micro-batch"),
    "clipped before each pass": (clipped_before, TABLE, "clipped-per-micro-batch"),
    "full ones only, over all": (full_ones_only, TABLE, "samples-left-out"),
    "the actor's gradient in the critic": (actor_leaves_gradient, TABLE,
                                           "gradient-of-another-loss", critic),
    "an average moved each": (averaged_each, TABLE, "state-moved-per-micro-batch", averaging),
    "the last twice, over all": (repeated(last_again, samples_mean), TABLE, "duplicated-samples"),
    "the first twice, over all tokens": (repeated(first_again, token_mean), RAGGED,
                                         "duplicated-samples"),
    "over the batch's longest": (stepping(over_longest), RAGGED, "padding-counted"),
    "over the longest of all batches": (stepping(over_longest_of_all), RAGGED, "padding-counted"),
    "class weights from the batch": (stepping(by_class_counts), TABLE, "weight-per-micro-batch"),
    "pos_weight from the batch": (stepping(rare_ones_more), TABLE, "weight-per-micro-batch"),
    "a hinge on the batch's mean": (stepping(hinge_of_mean), TABLE, "coupled-samples"),
    "times their number": (stepping(times_k), TABLE, "wrong-divisor"),
    "over the root of their number": (stepping(over_root_k), TABLE, "wrong-divisor"),
    "three terms": (stepping(three_terms), RAGGED, "term-scaled-apart", partial(linear, 5)),
    "a baseline of the rewards so far": (moving_baseline, PAIRS, "leaking-state"),
    "over the largest loss so far": (over_largest_so_far, TABLE, "leaking-state"),
    "spectral norm in training": (stepping(samples_mean), TABLE, "leaking-state", spectral),
    "clipped before each pass by hand": (clipped_before_by_hand, TABLE, "clipped-per-micro-batch"),
}  # fmt: skip


@torch.no_grad()
def totals_by_counts(model, batches):
    """The totals of sequences, weighed by their lengths."""
    pairs = [(tokens(model, b).sum(1), b[2].sum(1)) for b in batches]
    value = sum((t * w).sum() for t, w in pairs) / sum(w.sum() for _, w in pairs)
    return math.exp(value.item() / 10)


@torch.no_grad()
def per_token(model, batches):
    total = sum(tokens(model, b).sum() for b in batches)
    return math.exp((total / sum(b[2].sum() for b in batches)).item())


def averaged(number):
    """An evaluation that averages a number of every batch."""

    @torch.no_grad()
    def run(model, batches):
        values = [number(model, batch) for batch in batches]
        return sum(values) / len(values)

    return run


def root_of_squares(model, batch):
    return F.mse_loss(model(batch[0]), batch[1]).sqrt().item()


def decibels(model, batch):
    return -10 * math.log10(F.mse_loss(model(batch[0]), batch[1]).item())


def soft_f1(model, batch):
    """Of class 1, by probabilities: a ratio whose denominator holds what the model says."""
    p, y = model(batch[0]).softmax(-1)[:, 1], (batch[1] == 1).to(batch[0].dtype)
    return (2 * (p * y).sum() / (p.sum() + y.sum())).item()


def smoothed_dice(above, below):
    """A ratio with constants, as they are added against 0 / 0."""

    def number(model, batch):
        p, y = model(batch[0]).softmax(-1)[:, 1], (batch[1] == 1).to(batch[0].dtype)
        return ((2 * (p * y).sum() + above) / (p.sum() + y.sum() + below)).item()

    return number


def class_weighted(model, batch):
    return F.cross_entropy(
        model(batch[0]), batch[1], weight=CLASS_WEIGHTS.to(batch[0].dtype)
    ).item()


@torch.no_grad()
def root_of_all(model, batches):
    total = sum(F.mse_loss(model(x), y, reduction="sum").item() for x, y in batches)
    return math.sqrt(total / (3 * size(batches)))


@torch.no_grad()
def recall_by_class(model, batch):
    says, y = model(batch[0]).argmax(1), batch[1]
    hits = [(says[y == c] == c).sum() / (y == c).sum().clamp(min=1) for c in range(3)]
    return (sum(hits) / 3).item()


@torch.no_grad()
def precision(model, batch):
    """Of class 1 by elements: 0 where it is never said."""
    x, y, _ = batch
    says = model(x)[..., 1] > model(x)[..., 0] + 0.4
    return ((says & (y == 1)).sum() / says.sum().clamp(min=1)).item()


@torch.no_grad()
def last_hits_again(model, batches):
    hits = [(model(x).argmax(1) == y).sum().item() for x, y in batches]
    return (sum(hits) + hits[-1]) / size(batches)


EVALUATED = {
    "recall by class of batches": (averaged(recall_by_class), TABLE, "ratio-of-counts"),
    "precision of batches": (averaged(precision), RAGGED, "ratio-of-counts"),
    "the last batch's hits twice": (last_hits_again, TABLE, "duplicated-samples"),
    "roots of batches": (averaged(root_of_squares), PAIRS, "ratio-of-counts"),
    "decibels of batches": (averaged(decibels), PAIRS, "ratio-of-counts"),
    "f1 of batches": (averaged(soft_f1), TABLE, "ratio-of-counts"),
    "dice of batches, smoothed": (averaged(smoothed_dice(1, 1)), TABLE, "ratio-of-counts"),
    "dice of batches, a constant below": (averaged(smoothed_dice(0, 1e-3)), TABLE,
                                          "ratio-of-counts"),
    "class weights of batches": (averaged(class_weighted), TABLE, "weight-per-micro-batch"),
    "the root of all": (root_of_all, PAIRS, None),
}  # fmt: skip
