"""Steps and evaluations after public reports: planted mistakes, and right ones that look alike."""

import math
from functools import reduce

import torch
from torch import nn
from torch.nn import functional as F

from check_cases.doubted import (
    PAIRS,
    TABLE,
    averaged,
    samples_mean,
    size,
    stepping,
)

G = torch.Generator().manual_seed(11)
REWARDED = [(torch.randn(4, generator=G), torch.tensor(i % 3), torch.tensor(i % 4 - 1.5))
            for i in range(8)]  # fmt: skip
LABELS = torch.tensor([[1.0, -1.0, math.nan], [math.nan, 1.0, -1.0], [1.0, math.nan, 1.0]])
HEADS = [(torch.randn(4, generator=G), LABELS[i % 3] if i % 4 else LABELS[0].nan_to_num())
         for i in range(9)]  # fmt: skip
RARE = [(torch.randn(4, generator=G), torch.tensor(i % 3 == 0 or i % 4 == 1)) for i in range(9)]


def total(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1], reduction="sum")


def entering(pick):
    """A step over what pick leaves of its micro-batches, and their samples alone."""

    def run(model, optimizer, batches):
        optimizer.zero_grad()
        picked = pick(list(batches))
        for batch in picked:
            (total(model, batch) / size(picked)).backward()
        optimizer.step()

    return run


def evaluating(pick):
    @torch.no_grad()
    def run(model, batches):
        picked = pick(list(batches))
        return sum(total(model, b).item() for b in picked) / size(picked)

    return run


def of_the_first_size(batches):
    return [b for b in batches if len(b[0]) == len(batches[0][0])]


def two(batches):
    return batches[:2]


def all_but_the_last(batches):
    return batches[:-1] or batches


def not_single(batches):
    return [b for b in batches if len(b[0]) > 1] or batches


def the_last_again(batches):
    return [*batches, batches[-1]]


def filled(batches):
    """Batches of one size, filled up with the first sample of all."""
    most = max(len(b[0]) for b in batches)
    return [
        tuple(torch.cat([t, f[:1].expand(most - len(t), *t.shape[1:])])
              for t, f in zip(batch, batches[0], strict=True))
        for batch in batches
    ]  # fmt: skip


def log_chances(model, batch):
    return model(batch[0]).log_softmax(-1).gather(1, batch[1][:, None])[:, 0]


def normalised(rewards):
    return (rewards - rewards.mean()) / (rewards.std(unbiased=False) + 1e-4)


def normalised_each(m, b, all_):
    return -(log_chances(m, b) * normalised(b[2])).sum() / size(all_)


def centred_each(m, b, all_):
    return -(log_chances(m, b) * (b[2] - b[2].mean())).sum() / size(all_)


def normalised_first(m, b, all_):
    every = torch.cat([c[2] for c in all_])
    spread = every.std(unbiased=False) + 1e-4
    return -(log_chances(m, b) * (b[2] - every.mean()) / spread).sum() / size(all_)


def every_pair(m, b, all_):
    """SigLIP: each embedding against the other side's of its own micro-batch."""
    signs = 2 * torch.eye(len(b[0]), dtype=b[0].dtype) - 1
    return -F.logsigmoid(signs * (m(b[0]) @ b[1].T)).sum() / size(all_)


def hardest(m, b, all_):
    losses = F.cross_entropy(m(b[0]), b[1], reduction="none")
    return losses.topk(max(1, len(losses) // 2)).values.mean() / len(all_)


class Routed(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(4, 3)
        self.experts = nn.ModuleList(nn.Linear(4, 3) for _ in range(3))

    def forward(self, x):
        shares = self.gate(x).softmax(-1)
        every = torch.stack([expert(x) for expert in self.experts], 1)
        return (shares[:, :, None] * every).sum(1), shares


def routed():
    torch.manual_seed(5)
    model = Routed()
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def balance(shares):
    used = F.one_hot(shares.argmax(-1), 3).to(shares).mean(0)
    return 0.3 * (used * shares.mean(0)).sum()


def router_undivided(m, b, all_):
    out, shares = m(b[0])
    return F.cross_entropy(out, b[1], reduction="sum") / size(all_) + balance(shares)


def router_of_all(model, optimizer, batches):
    optimizer.zero_grad()
    x, y = (torch.cat([b[i] for b in batches]) for i in (0, 1))
    out, shares = model(x)
    loss = F.cross_entropy(out, y) + balance(shares)
    loss.backward()
    optimizer.step()
    return loss.item()


def of_heads(model, batch):
    """Three heads, some of whose labels are missing: totals and numbers of labels."""
    labels = batch[1]
    there = ~labels.isnan()
    gaps = torch.where(there, model(batch[0]) - labels.nan_to_num(), 0.0)
    return gaps.square().sum(0), there.sum(0)


def heads_each(m, b, all_):
    totals, counts = of_heads(m, b)
    return (totals / counts.clamp(min=1)).sum() / len(all_)


def heads_pooled(m, b, all_):
    totals, _ = of_heads(m, b)
    return (totals / sum(of_heads(m, c)[1] for c in all_)).sum()


def by_the_first_size(m, b, all_):
    return total(m, b) / (len(all_) * len(all_[0][0]))


def never_zeroed(model, optimizer, batches):
    for place, (x, y) in enumerate(batches, 1):
        (F.cross_entropy(model(x), y) / 3).backward()
        if place % 3 == 0 or place == len(batches):
            optimizer.step()


def saying(how):
    """A right step that reports what how makes of the micro-batches' means."""

    def run(model, optimizer, batches):
        means = [F.cross_entropy(model(x), y).item() for x, y in batches]
        stepping(samples_mean)(model, optimizer, batches)
        return how(means)

    return run


def decaying(means):
    return reduce(lambda average, mean: 0.9 * average + 0.1 * mean, means)


def corrected(means):
    average = reduce(lambda old, mean: 0.98 * old + 0.02 * mean, means, 0.0)
    return average / (1 - 0.98 ** len(means))


def all_but_the_last_mean(means):
    some = means[:-1] or means
    return sum(some) / len(some)


class Player(nn.Module):
    def __init__(self):
        super().__init__()
        self.make, self.judge = nn.Linear(4, 3), nn.Linear(3, 1)


def players():
    torch.manual_seed(1)
    model = Player()
    return model, torch.optim.Adam(model.judge.parameters(), lr=0.1)


def cleared_in_between(model, optimizer, batches):
    """The generator's pass runs through the discriminator, whose gradient is then cleared."""
    for x, _ in batches:
        (F.softplus(-model.judge(model.make(x))).sum() / size(batches)).backward()
    optimizer.zero_grad()
    said = 0.0
    for x, y in batches:
        fake = model.judge(model.make(x).detach())
        loss = (F.softplus(-model.judge(y)) + F.softplus(fake)).sum() / size(batches)
        loss.backward()
        said += loss.item()
    optimizer.step()
    return said


def quantised(m, b, all_):
    z = m(b[0])
    straight = z + (z.round() - z).detach()
    kept = 0.25 * (z - z.round().detach()).square()
    return ((straight - b[1]).square() + kept).sum() / size(all_)


def bootstrapped(m, b, all_):
    target = b[1] + 0.9 * m(b[0].flip(1)).detach()
    return (m(b[0]) - target).square().sum() / size(all_)


def narrowly(m, b, all_):
    with torch.autocast("cpu", torch.bfloat16):
        return samples_mean(m, b, all_)


def narrow_means(m, b, all_):
    with torch.autocast("cpu", torch.bfloat16):
        return F.cross_entropy(m(b[0]), b[1]) / len(all_)


def half_means(m, b, all_):
    """The model in float32, its loss in bfloat16."""
    return F.cross_entropy(m(b[0]).bfloat16(), b[1]) / len(all_)


class OneValue(nn.Module):
    """Batch normalisation over one value a channel: a sample alone cannot be run."""

    def __init__(self):
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.norm(self.body(x))))


def one_value():
    torch.manual_seed(1)
    model = OneValue()
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


LEFT, TWICE, COUPLED = "samples-left-out", "duplicated-samples", "coupled-samples"
PLANTED = {
    "micro-batches of another size are skipped": (entering(of_the_first_size), TABLE, LEFT),
    "two micro-batches at most": (entering(two), TABLE, LEFT),
    "the last never enters": (entering(all_but_the_last), TABLE, LEFT),
    "single samples are skipped": (entering(not_single), TABLE, LEFT),
    "the last twice": (entering(the_last_again), TABLE, TWICE),
    "filled up with the first sample": (entering(filled), TABLE, TWICE),
    "advantages of a micro-batch": (stepping(normalised_each), REWARDED, COUPLED),
    "advantages less their mean": (stepping(centred_each), REWARDED, COUPLED),
    "every pair of a micro-batch": (stepping(every_pair), PAIRS, COUPLED),
    "the hardest of a micro-batch": (stepping(hardest), TABLE, COUPLED),
    "a router's term undivided": (stepping(router_undivided), TABLE, "term-scaled-apart", routed),
    "three heads, each over its labels": (stepping(heads_each), HEADS,
                                          "mean-of-micro-batch-means"),
    "over the size of the first": (stepping(by_the_first_size), TABLE, "wrong-divisor"),
    "says the last": (saying(lambda means: means[-1]), TABLE, "reported-loss"),
    "says a decaying average": (saying(decaying), TABLE, "reported-loss"),
    "says all but the last": (saying(all_but_the_last_mean), TABLE, "reported-loss"),
    "batch norm on one value": (stepping(samples_mean), TABLE, "batch-norm", one_value),
}  # fmt: skip
RIGHT = {
    "advantages of all": (stepping(normalised_first), REWARDED),
    "a router's term of all": (router_of_all, TABLE, torch.float64, routed),
    "three heads pooled": (stepping(heads_pooled), HEADS),
    "a gradient that was cleared": (cleared_in_between, PAIRS, torch.float64, players),
    "a straight-through quantiser": (stepping(quantised), PAIRS),
    "a target from the model itself": (stepping(bootstrapped), PAIRS),
    "autocast": (stepping(narrowly), TABLE, torch.float32),
}
NARROW = {
    "means under autocast": (stepping(narrow_means), TABLE),
    "means in half precision": (stepping(half_means), TABLE),
}


def hits(model, batch):
    return (model(batch[0]).argmax(-1) == batch[1]).sum().item()


@torch.no_grad()
def hits_over_ten(model, batches):
    return sum(hits(model, b) for b in batches) / 10


@torch.no_grad()
def hits_over_all(model, batches):
    return sum(hits(model, b) for b in batches) / len(TABLE)


@torch.no_grad()
def hits_over_loader(model, batches):
    return sum(hits(model, b) for b in batches) / (len(batches) * len(batches[0][0]))


@torch.no_grad()
def two_over_all(model, batches):
    return sum(total(model, b).item() for b in batches[:2]) / size(batches)


def summarising(how):
    @torch.no_grad()
    def run(model, batches):
        return how([F.cross_entropy(model(x), y).item() for x, y in batches])

    return run


def precision(model, batch):
    said, true = model(batch[0])[:, 0] > 0, batch[1]
    return ((said & true).sum() / said.sum().clamp(min=1)).item()


def explained(model, batch):
    gaps, spread = model(batch[0]) - batch[1], batch[1] - batch[1].mean(0)
    return (1 - gaps.square().sum() / spread.square().sum().clamp(min=1e-3)).item()


def by_class(model, batch):
    said, true = model(batch[0]).argmax(-1), batch[1]
    return (
        torch.stack([(said[true == c] == c).double().mean() for c in true.unique()]).mean().item()
    )


def of_all(number):
    @torch.no_grad()
    def run(model, batches):
        return number(model, tuple(torch.cat(parts) for parts in zip(*batches, strict=True)))

    return run


@torch.no_grad()
def largest_error(model, batches):
    return max((model(x) - y).abs().max().item() for x, y in batches)


@torch.no_grad()
def decibels_by_image(model, batches):
    each = [-10 * (model(x) - y).square().mean(1).log10() for x, y in batches]
    return torch.cat(each).mean().item()


EVALUATED = {
    "drop_last": (evaluating(of_the_first_size), TABLE, LEFT),
    "two batches at most": (evaluating(two), TABLE, LEFT),
    "two batches over all": (two_over_all, TABLE, LEFT),
    "the last twice": (evaluating(the_last_again), TABLE, TWICE),
    "filled up with the first sample": (evaluating(filled), TABLE, TWICE),
    "hits over ten": (hits_over_ten, TABLE, "wrong-divisor"),
    "hits over the loader's length": (hits_over_loader, TABLE, "wrong-divisor"),
    "a decaying average": (summarising(decaying), TABLE, "mean-of-micro-batch-means"),
    "a corrected one": (summarising(corrected), TABLE, "mean-of-micro-batch-means"),
    "precision of batches": (averaged(precision), RARE, "ratio-of-counts"),
    "explained variance of batches": (averaged(explained), PAIRS, COUPLED),
    "hits over all": (hits_over_all, TABLE, None),
    "the largest error": (largest_error, PAIRS, None),
    "decibels by image": (decibels_by_image, PAIRS, None),
    "precision of all": (of_all(precision), RARE, None),
    "explained variance of all": (of_all(explained), PAIRS, None),
    "accuracy by class of all": (of_all(by_class), TABLE, None),
}
