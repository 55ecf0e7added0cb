"""Training steps, right and wrong: one row a case, shared by the tests of the check.

Four small models (an MLP, a GRU over padded sequences, a causal transformer, a CNN), losses that
give a sum and a weight, and ways to make a step of them. A row says which mistakes the step makes.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from batchproof.check import Probe

CLASS_WEIGHT = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
        self.head = nn.Linear(6, 3)
        self.other = nn.Linear(6, 1)

    def forward(self, x):
        return self.head(self.body(x))


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh())
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.body(x))


class Dropped(MLP):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(0.4))


class Noisy(MLP):
    def forward(self, x):
        return self.head(self.body(x + 0.1 * torch.randn_like(x)))


class Tagger(nn.Module):
    """A GRU that runs from left to right, so that padding on the right changes no real step."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(2, 4, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, batch):
        return self.head(self.rnn(batch["x"])[0])


class LastState(Tagger):
    """Reads the state after the last step, which is a step of padding in a padded batch."""

    def forward(self, batch):
        return self.head(self.rnn(batch["x"])[0][:, -1])


class Carrying(Tagger):
    """Starts where the micro-batch before has ended."""

    state = None

    def forward(self, batch):
        start = (
            None if self.state is None else self.state.expand(1, len(batch["x"]), 4).contiguous()
        )
        out, last = self.rnn(batch["x"], start)
        self.state = last.detach().mean(1, keepdim=True)
        return self.head(out)


class Causal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 8)
        self.place = nn.Embedding(8, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 7)

    def forward(self, tokens):
        length = tokens.shape[1]
        mask = torch.ones(length, length, dtype=torch.bool).triu(1)
        x = self.embed(tokens) + self.place(torch.arange(length))
        return self.head(self.layer(x, src_mask=mask))


class CNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.head = nn.Linear(3, 3)

    def forward(self, x):
        return self.head(self.conv(x).relu().mean((2, 3)))


class NormedCNN(CNN):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))


def vectors(count: int = 7) -> list[Any]:
    g = draw()
    return [(torch.randn(4, generator=g), torch.tensor(i % 3)) for i in range(count)]


def images(count: int = 6) -> list[Any]:
    g = draw(3)
    return [(torch.randn(1, 5, 5, generator=g), torch.tensor(i % 3)) for i in range(count)]


def sequences() -> list[Any]:
    g = draw(1)
    return [
        {
            "x": torch.randn(n, 2, generator=g),
            "y": torch.randint(3, (n,), generator=g),
            "mask": torch.ones(n, dtype=torch.bool),
        }
        for n in (3, 6, 2, 5, 4, 6)
    ]


def pad_all(samples: list[Any]) -> dict[str, torch.Tensor]:
    return {key: pad_sequence([s[key] for s in samples], batch_first=True) for key in samples[0]}


def texts() -> list[Any]:
    g = draw(2)
    return [torch.randint(1, 7, (n,), generator=g) for n in (4, 8, 3, 6, 5, 7)]


def pad_texts(samples: list[Any]) -> dict[str, torch.Tensor]:
    tokens = pad_sequence(samples, batch_first=True)
    labels = pad_sequence(samples, batch_first=True, padding_value=-100)
    return {"input": tokens[:, :-1], "labels": labels[:, 1:]}


def lengths() -> list[Any]:
    """Sequences that carry their length, and no mask."""
    return [(s["x"], s["y"], torch.tensor(len(s["y"]))) for s in sequences()]


def pad_lengths(samples: list[Any]) -> dict[str, torch.Tensor]:
    x, y = (pad_sequence([s[i] for s in samples], batch_first=True) for i in range(2))
    count = torch.stack([s[2] for s in samples])
    return {"x": x, "y": y, "mask": torch.arange(x.shape[1]) < count[:, None]}


def pad_zero(samples: list[Any]) -> dict[str, torch.Tensor]:
    """Token 0 is padding, in labels too."""
    tokens = pad_sequence(samples, batch_first=True)
    return {"input": tokens[:, :-1], "labels": tokens[:, 1:]}


@dataclass(frozen=True)
class World:
    """A model, its samples and how they are collated."""

    model: type[nn.Module]
    samples: Callable[[], list[Any]]
    collate: Callable[[list[Any]], Any] = torch.utils.data.default_collate


TABULAR = World(MLP, vectors)
PADDED = World(Tagger, sequences, pad_all)
TEXT = World(Causal, texts, pad_texts)
WORDS = World(Causal, texts, pad_zero)
LENGTHS = World(Tagger, lengths, pad_lengths)
IMAGES = World(CNN, images)


# losses: (model, batch) -> (sum, weight)


def of_classes(model, batch):
    x, y = batch
    return F.cross_entropy(model(x), y, reduction="sum"), len(y)


def of_weighted_classes(model, batch):
    x, y = batch
    weight = CLASS_WEIGHT.to(x.dtype)
    return F.cross_entropy(model(x), y, weight, reduction="sum"), weight[y].sum()


def of_steps(model, batch):
    losses = F.cross_entropy(model(batch).transpose(1, 2), batch["y"], reduction="none")
    return torch.where(batch["mask"], losses, 0).sum(), batch["mask"].sum()


def of_padded_steps(model, batch):
    """Multiplies by the mask, and divides by every step."""
    total, _ = of_steps(model, batch)
    return total, batch["mask"].numel()


def of_all_steps(model, batch):
    """Never looks at the mask."""
    losses = F.cross_entropy(model(batch).transpose(1, 2), batch["y"], reduction="sum")
    return losses, batch["y"].numel()


def of_sequences(model, batch):
    """The mean over sequences of their means over steps."""
    losses = F.cross_entropy(model(batch).transpose(1, 2), batch["y"], reduction="none")
    count = batch["mask"].sum(1)
    means = torch.where(batch["mask"], losses, 0).sum(1) / count.clamp(min=1)
    return means.sum(), (count > 0).sum()


def of_sequence_sums(model, batch):
    total, _ = of_steps(model, batch)
    return total, batch["mask"].any(1).sum()


def of_last_states(model, batch):
    return F.cross_entropy(model(batch), batch["y"][:, 0], reduction="sum"), len(batch["y"])


def of_tokens(model, batch):
    logits, labels = model(batch["input"]), batch["labels"]
    return F.cross_entropy(logits.transpose(1, 2), labels, reduction="sum"), (labels != -100).sum()


def contrastive(model, batch):
    """Each sample against all others of its micro-batch."""
    z = F.normalize(model.body(batch[0]), dim=1)
    target = torch.arange(len(z))
    return F.cross_entropy(z @ (2 * z + 0.1).T, target, reduction="sum"), len(z)


def dice(model, batch):
    """One ratio for the whole micro-batch."""
    share = model(batch[0]).softmax(1)[:, 1]
    hit = (batch[1] == 1).to(share.dtype)
    return (1 - (2 * (share * hit).sum() + 1) / (share.sum() + hit.sum() + 1)) * len(hit), len(hit)


def root(model, batch):
    """The root of a mean is no mean."""
    total, weight = of_classes(model, batch)
    return (total / weight).sqrt() * weight, weight


# steps: each makes run(model, optimizer, micro_batches) of a loss


def mean_of(loss, model, batch):
    total, weight = loss(model, batch)
    return total / weight


def exact(loss, report=True, clip=None):
    def run(model, optimizer, batches):
        optimizer.zero_grad()
        total, weight = 0.0, 0.0
        for batch in batches:
            part, w = loss(model, batch)
            part.backward()
            total, weight = total + part.item(), weight + float(w)
        for param in model.parameters():
            if param.grad is not None:
                param.grad /= weight
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        return total / weight if report else None

    return run


def through_a_running_sum(loss):
    """Goes backward through the losses so far, again with every micro-batch."""

    def run(model, optimizer, batches):
        optimizer.zero_grad()
        value = 0.0
        for batch in batches:
            value = value + mean_of(loss, model, batch) / len(batches)
            value.backward(retain_graph=True)
        optimizer.step()
        return value

    return run


def exact_by_counting_first(loss, weight_of):
    def run(model, optimizer, batches):
        optimizer.zero_grad()
        weight = sum(weight_of(batch) for batch in batches)
        value = 0.0
        for batch in batches:
            part = loss(model, batch)[0] / weight
            part.backward()
            value += part.item()
        optimizer.step()
        return value

    return run


def averaged(loss, divide=None, reported="mean", clip=None, zero="start", by_samples=False):
    """The usual loop: each micro-batch's mean, divided by `divide` or their number."""

    def run(model, optimizer, batches):
        optimizer.zero_grad()
        values = []
        k = divide or len(batches)
        samples = sum(size_of(batch) for batch in batches)
        for batch in batches:
            if zero == "inside":
                optimizer.zero_grad()
            value = mean_of(loss, model, batch)
            scale = size_of(batch) / samples if by_samples else 1 / k
            if zero == "first" and values:
                value = value.detach()
            else:
                (value * scale).backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            values.append(value.item())
        optimizer.step()
        return say(values, reported)

    return run


def exact_but_says(loss, reported):
    """The right gradient, and another number."""
    right = exact(loss)

    def run(model, optimizer, batches):
        with torch.no_grad():
            values = [mean_of(loss, model, batch).item() for batch in batches]
        right(model, optimizer, batches)
        return say(values, reported)

    return run


def say(values, reported):
    return {
        "mean": sum(values) / len(values),
        "sum": sum(values),
        "last": values[-1],
        "first": values[0],
        "last/k": values[-1] / len(values),
        "none": None,
    }[reported]


def size_of(batch):
    first = next(iter(batch.values())) if isinstance(batch, dict) else batch[0]
    return len(first)


def exact_clipped_each(loss, weight_of, clip):
    def run(model, optimizer, batches):
        optimizer.zero_grad()
        weight = sum(weight_of(batch) for batch in batches)
        for batch in batches:
            (loss(model, batch)[0] / weight).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()

    return run


def two_terms(scale_second, second):
    """A main term that is right, and a second one scaled by scale_second(number, sizes)."""

    def run(model, optimizer, batches):
        optimizer.zero_grad()
        n = sum(size_of(batch) for batch in batches)
        for batch in batches:
            main = of_classes(model, batch)[0] / n
            share = size_of(batch) / n
            (main + 0.5 * second(model, batch) * scale_second(len(batches), share)).backward()
        optimizer.step()

    return run


def two_terms_by_means(model, optimizer, batches):
    """Two means of unlike weights, both averaged over micro-batches."""
    optimizer.zero_grad()
    value = 0.0
    for batch in batches:
        total, weight = of_steps(model, batch)
        start = model(batch)[:, 0].pow(2).mean()
        part = (total / weight + 0.5 * start) / len(batches)
        part.backward()
        value += part.item()
    optimizer.step()
    return value


def of_other_head(model, batch):
    return (model.other(model.body(batch[0])) ** 2).mean()


def of_size(model, batch):
    return sum((p**2).sum() for p in model.body.parameters())


def of_confidence(model, batch):
    return model(batch[0]).logsumexp(1).pow(2).mean()


def of_smoothed_weights(model, batch):
    """Class weights and label smoothing together: one weighted mean, as torch makes it."""
    x, y = batch
    weight = CLASS_WEIGHT.to(x.dtype)
    losses = F.cross_entropy(model(x), y, weight, label_smoothing=0.2, reduction="sum")
    return losses, weight[y].sum()


def terms_by_means(*losses, by_samples=False, report=True):
    """The usual loop over an objective of several means: their sum, averaged over micro-batches."""

    def run(model, optimizer, batches):
        optimizer.zero_grad()
        samples, value = sum(size_of(batch) for batch in batches), 0.0
        for batch in batches:
            scale = size_of(batch) / samples if by_samples else 1 / len(batches)
            part = sum(mean_of(loss, model, batch) for loss in losses) * scale
            part.backward()
            value += part.item()
        optimizer.step()
        return value if report else None

    return run


def of_body(model, batch):
    return 0.1 * of_size(model, batch), 1


def against_data(model, batch):
    """Each sample against the data, not the outputs, of all others of its micro-batch."""
    x, _ = batch
    scores = model.body(x)[:, :4] @ x.T
    return F.cross_entropy(scores, torch.arange(len(x)), reduction="sum"), len(x)


def of_focal(model, batch):
    """Detection: everything over the number of hits, taken for 1 where there is none."""
    x, y = batch
    hit = (y != 0).to(x.dtype)
    losses = F.binary_cross_entropy_with_logits(model(x)[:, 0], hit, reduction="sum")
    return losses, hit.sum().clamp(min=1)


def of_hard(model, batch):
    """Samples that are hard count more."""
    losses = F.cross_entropy(model(batch[0]), batch[1], reduction="none")
    weight = losses.detach() ** 2
    return (weight * losses).sum(), weight.sum()


def of_smoothed_steps(model, batch):
    """Label smoothing by hand: padding is left out of one term, and counted in the other."""
    logs = model(batch).log_softmax(-1)
    losses = -logs.gather(-1, batch["y"][..., None])[..., 0]
    mask = batch["mask"]
    mean = torch.where(mask, losses, 0).sum() / mask.sum()
    return 0.9 * mean - 0.1 * logs.mean(), 1


def padded_and_undivided(model, optimizer, batches):
    """Counts padding in one term, and never divides the other."""
    optimizer.zero_grad()
    n = sum(size_of(batch) for batch in batches)
    for batch in batches:
        main = mean_of(of_all_steps, model, batch) * size_of(batch) / n
        (main + 0.1 * mean_of(of_starts, model, batch)).backward()
    optimizer.step()


def clipped_by_hand(loss, limit, each=False, mean=False):
    """Clips by code of its own, once at the end or after each micro-batch."""

    def clip(model):
        norm = sum((p.grad**2).sum() for p in model.parameters() if p.grad is not None).sqrt()
        for param in model.parameters():
            if param.grad is not None:
                param.grad *= min(1.0, limit / (norm.item() + 1e-6))

    def run(model, optimizer, batches):
        optimizer.zero_grad()
        samples = sum(size_of(batch) for batch in batches)
        for batch in batches:
            scale = 1 / len(batches) if mean else size_of(batch) / samples
            (mean_of(loss, model, batch) * scale).backward()
            if each:
                clip(model)
        if not each:
            clip(model)
        optimizer.step()

    return run


def clamped_by_hand(model, optimizer, batches):
    """Clips every entry by code of its own, once, at the end."""
    optimizer.zero_grad()
    n = sum(size_of(batch) for batch in batches)
    for batch in batches:
        (of_classes(model, batch)[0] / n).backward()
    for param in model.parameters():
        if param.grad is not None:
            param.grad.clamp_(-0.02, 0.02)
    optimizer.step()


def centred(model, batch):
    """Takes the micro-batch's mean from its inputs."""
    x, y = batch
    return F.cross_entropy(model(x - x.mean(0)), y, reduction="sum"), len(y)


def normalised_each(model, optimizer, batches):
    """Every micro-batch's gradient is brought to length 1: no clipping, and nothing is coupled."""
    params = list(model.parameters())
    total = [torch.zeros_like(p) for p in params]
    for batch in batches:
        optimizer.zero_grad()
        mean_of(of_classes, model, batch).backward()
        size = sum((p.grad**2).sum() for p in params if p.grad is not None).sqrt()
        for kept, param in zip(total, params, strict=True):
            if param.grad is not None:
                kept.add_(param.grad / size)
    for kept, param in zip(total, params, strict=True):
        param.grad = kept / len(batches)
    optimizer.step()


def of_words(model, batch):
    """Token 0 is ignored."""
    logits, labels = model(batch["input"]), batch["labels"]
    losses = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=0, reduction="sum")
    return losses, (labels != 0).sum()


def of_z(model, batch):
    return 0.3 * model(batch[0]).logsumexp(1).pow(2).sum(), len(batch[0])


def of_other_classes(model, batch):
    """Another head, with class weights of its own."""
    x, y = batch
    scores = model.other(model.body(x)) * torch.tensor([1.0, 2.0, -1.0], dtype=x.dtype)
    weight = CLASS_WEIGHT.flip(0).to(x.dtype)
    return F.cross_entropy(scores, y, weight, reduction="sum"), weight[y].sum()


def of_starts(model, batch):
    """Over sequences, beside a loss over steps."""
    return model(batch)[:, 0].pow(2).mean(1).sum(), len(batch["x"])


def of_start_classes(model, batch):
    """Over sequences with class weights."""
    y = batch["y"][:, 0]
    weight = CLASS_WEIGHT.to(batch["x"].dtype)
    return F.cross_entropy(model(batch)[:, 0], y, weight, reduction="sum"), weight[y].sum()


def loop(loss, k):
    """Takes a loader, steps every k micro-batches and divides by k also where fewer are left."""

    def run(model, optimizer, loader):
        optimizer.zero_grad()
        for index, batch in enumerate(loader):
            (mean_of(loss, model, batch) / k).backward()
            if (index + 1) % k == 0 or index + 1 == len(loader):
                optimizer.step()
                optimizer.zero_grad()

    return run


def exact_loop(loss, k):
    def run(model, optimizer, loader):
        one = exact(loss, report=False)
        for start in range(0, len(loader), k):
            one(model, optimizer, loader[start : start + k])

    return run


def adam(params):
    return torch.optim.AdamW(params, lr=1e-3)


def sgd(params):
    return torch.optim.SGD(params, lr=0.1)


SEEN: list[float] = []


def remembering(model, optimizer, batches):
    """Scales by how often it was called."""
    SEEN.append(1.0)
    optimizer.zero_grad()
    n = sum(size_of(batch) for batch in batches)
    for batch in batches:
        (of_classes(model, batch)[0] / n * (1 + 0.1 * len(SEEN))).backward()
    optimizer.step()


def with_cached_scale(model, optimizer, batches):
    """Keeps a running scale on the model."""
    optimizer.zero_grad()
    n = sum(size_of(batch) for batch in batches)
    for batch in batches:
        total = of_classes(model, batch)[0]
        model.scale = 0.5 * getattr(model, "scale", 0.0) + 0.5 * float(total.detach())
        (total / n / (1 + model.scale)).backward()
    optimizer.step()


@dataclass(frozen=True)
class Build:
    """Makes a model and its optimizer; an object, so that it can go to another process."""

    model: type[nn.Module]
    optimizer: Callable[..., Any] = sgd

    def __call__(self):
        model = self.model()
        return model, self.optimizer(model.parameters())


@dataclass(frozen=True)
class Case:
    """One step, and what is to be said of it.

    Attributes:
        title: the row's name.
        world: model, samples, collate.
        run: the step.
        mistakes: names of its mistakes; empty for a right one.
        unit: what it is a mean over, where the row says so.
        model: in place of the world's.
        more: further arguments of the probe.
    """

    title: str
    world: World
    run: Callable[..., Any]
    mistakes: tuple[str, ...] = ()
    unit: str | None = None
    model: type[nn.Module] | None = None
    optimizer: Callable[..., Any] = sgd
    more: dict[str, Any] = field(default_factory=dict)

    def probe(self) -> Probe:
        build = Build(self.model or self.world.model, self.optimizer)
        return Probe(self.run, self.world.samples, build, collate=self.world.collate, **self.more)


MEANS = ("mean-of-micro-batch-means",)
PADDING = ("padding-counted",)
UNDIVIDED = ("not-divided",)
FIXED = ("fixed-window-size",)
EMPTY = ("empty-micro-batch-nan",)
ONE = ("one-micro-batch-only",)
WEIGHTS = ("weight-per-micro-batch",)
TERM = ("term-scaled-apart",)
CLIPPED = ("clipped-per-micro-batch",)
LOSS = ("reported-loss",)
NORM = ("batch-norm",)
DRAWS = ("random-draws",)
COUPLED = ("coupled-samples",)
LEAK = ("leaking-state",)


def count_classes(batch):
    return len(batch[1])


def count_steps(batch):
    return batch["mask"].sum()


RIGHT = [
    Case("mlp, pooled", TABULAR, exact(of_classes), unit="sample"),
    Case("mlp, pooled, adam", TABULAR, exact(of_classes), optimizer=adam),
    Case("mlp, counted first", TABULAR, exact_by_counting_first(of_classes, count_classes)),
    Case("mlp, says nothing", TABULAR, exact(of_classes, report=False)),
    Case("mlp, class weights pooled", TABULAR, exact(of_weighted_classes), unit="weighted"),
    Case("mlp, clipped once", TABULAR, exact(of_classes, clip=0.01)),
    Case("mlp, clipped once, never reached", TABULAR, exact(of_classes, clip=100.0)),
    Case("mlp, dropout held still", TABULAR, exact(of_classes), model=Dropped),
    Case("mlp, two terms", TABULAR, two_terms(lambda k, share: share, of_other_head)),
    Case("mlp, a penalty once", TABULAR, two_terms(lambda k, share: 1 / k, of_size)),
    Case("mlp, a loop of windows", TABULAR, exact_loop(of_classes, 3), more={"window": 3}),
    Case("gru, over steps", PADDED, exact(of_steps), unit="element"),
    Case("gru, over sequences", PADDED, exact(of_sequences), unit="sample"),
    Case("gru, over sums of sequences", PADDED, exact(of_sequence_sums), unit="sample-sum"),
    Case("gru, counted first", PADDED, exact_by_counting_first(of_steps, count_steps)),
    Case("transformer, over tokens", TEXT, exact(of_tokens), unit="element"),
    Case("transformer, adam, clipped once", TEXT, exact(of_tokens, clip=0.1), optimizer=adam),
    Case("cnn, pooled", IMAGES, exact(of_classes), unit="sample"),
    Case("cnn, class weights pooled", IMAGES, exact(of_weighted_classes), unit="weighted"),
    Case("mlp, clipped by hand", TABULAR, clipped_by_hand(of_classes, 0.05), unit="sample"),
    Case("mlp, clamped by hand", TABULAR, clamped_by_hand, unit="sample"),
    Case("gru, lengths, over steps", LENGTHS, exact(of_steps), unit="element"),
    Case("transformer, padding is word 0", WORDS, exact(of_words), unit="element"),
]

WRONG = [
    Case("mlp, mean of means", TABULAR, averaged(of_classes), MEANS),
    Case("mlp, mean of means, adam", TABULAR, averaged(of_classes), MEANS, optimizer=adam),
    Case("gru, mean of means", PADDED, averaged(of_steps), (*MEANS, *EMPTY)),
    Case("gru, mean of sequences' means", PADDED, averaged(of_sequences), (*MEANS, *EMPTY)),
    Case("gru, means by samples", PADDED, averaged(of_steps, by_samples=True),
         (*MEANS, *EMPTY, *LOSS)),
    Case("transformer, mean of means", TEXT, averaged(of_tokens), MEANS, unit="element"),
    Case("cnn, mean of means", IMAGES, averaged(of_classes), MEANS),
    Case("mlp, fixed window", TABULAR, averaged(of_classes, divide=4), (*FIXED, *LOSS)),
    Case("transformer, fixed window", TEXT, averaged(of_tokens, divide=8), (*FIXED, *LOSS)),
    Case("mlp, a loop of fixed windows", TABULAR, loop(of_classes, 3), FIXED, more={"window": 3}),
    Case("mlp, not divided", TABULAR, averaged(of_classes, divide=1, reported="sum"), UNDIVIDED),
    Case("cnn, not divided", IMAGES, averaged(of_classes, divide=1, reported="none"), UNDIVIDED),
    Case("gru, padded steps", PADDED, exact(of_padded_steps), PADDING),
    Case("gru, mask forgotten", PADDED, exact(of_all_steps), PADDING),
    Case("gru, state after padding", PADDED, exact(of_last_states), PADDING, model=LastState),
    Case("gru, padded, by means", PADDED, averaged(of_padded_steps), (*PADDING, *MEANS)),
    Case("gru, padded, not divided", PADDED, averaged(of_padded_steps, 1, "sum"),
         (*PADDING, *UNDIVIDED)),
    Case("mlp, zeroed inside", TABULAR, averaged(of_classes, zero="inside", reported="none"), ONE),
    Case("mlp, first only", TABULAR, averaged(of_classes, 1, "none", zero="first"), ONE),
    Case("transformer, last only", TEXT, averaged(of_tokens, 1, "last", zero="inside"), ONE),
    Case("mlp, class weights each", TABULAR, averaged(of_weighted_classes), WEIGHTS),
    Case("cnn, class weights by samples", IMAGES, averaged(of_weighted_classes, by_samples=True,
         reported="none"), WEIGHTS),
    Case("mlp, class weights and a z-loss", TABULAR, terms_by_means(of_weighted_classes, of_z),
         (*MEANS, *WEIGHTS), unit="several terms"),
    Case("cnn, class weights and a z-loss", IMAGES, terms_by_means(of_weighted_classes, of_z),
         (*MEANS, *WEIGHTS)),
    Case("mlp, class weights and a z-loss, by samples", TABULAR,
         terms_by_means(of_weighted_classes, of_z, by_samples=True), WEIGHTS),
    Case("mlp, class weights and a penalty", TABULAR,
         terms_by_means(of_weighted_classes, of_body), WEIGHTS),
    Case("mlp, class weights and smoothing", TABULAR, averaged(of_smoothed_weights), WEIGHTS),
    Case("mlp, two heads with class weights", TABULAR,
         terms_by_means(of_weighted_classes, of_other_classes), WEIGHTS),
    Case("gru, three means of unlike weights", PADDED,
         terms_by_means(of_steps, of_starts, of_start_classes, report=False),
         ("unknown",)),
    Case("mlp, through a running sum", TABULAR, through_a_running_sum(of_classes),
         (*LOSS, "unknown")),
    Case("mlp, over the number of hits", TABULAR, averaged(of_focal), MEANS),
    Case("mlp, hard samples count more", TABULAR, averaged(of_hard), WEIGHTS),
    Case("mlp, hard samples count more, and a z-loss", TABULAR, terms_by_means(of_hard, of_z),
         (*MEANS, *WEIGHTS)),
    Case("gru, smoothing by hand counts padding", PADDED, averaged(of_smoothed_steps),
         (*PADDING, *MEANS, *EMPTY)),
    Case("gru, padding counted, another term undivided", PADDED, padded_and_undivided,
         (*PADDING, *TERM), unit="several terms"),
    Case("gru, lengths, mean of means", LENGTHS, averaged(of_steps), (*MEANS, *EMPTY)),
    Case("transformer, padding is word 0, by means", WORDS, averaged(of_words), (*MEANS, *EMPTY)),
    Case("mlp, means clipped by hand", TABULAR, clipped_by_hand(of_classes, 0.05, mean=True),
         MEANS, unit="sample"),
    Case("mlp, clipped by hand each", TABULAR, clipped_by_hand(of_classes, 0.05, each=True),
         CLIPPED, unit="sample"),
    Case("mlp, normalised each", TABULAR, normalised_each, ("unknown",)),
    Case("mlp, against the data of others", TABULAR, exact(against_data, report=False), COUPLED),
    Case("mlp, inputs less their mean", TABULAR, exact(centred, report=False), COUPLED),
    Case("mlp, other head times k", TABULAR, two_terms(lambda k, s: k * s, of_other_head), TERM),
    Case("mlp, other head undivided", TABULAR, two_terms(lambda k, s: 1.0, of_other_head), TERM),
    Case("mlp, penalty each time", TABULAR, two_terms(lambda k, s: 1.0, of_size), TERM),
    Case("gru, two terms by means", PADDED, two_terms_by_means, (*MEANS, *EMPTY)),
    Case("cnn, z-loss undivided", IMAGES, two_terms(lambda k, s: 1.0, of_confidence), TERM),
    Case("mlp, z-loss mean of means", TABULAR, two_terms(lambda k, s: 1 / k, of_confidence), TERM),
    Case("mlp, clipped each", TABULAR, exact_clipped_each(of_classes, count_classes, 0.05),
         CLIPPED),
    Case("gru, clipped each", PADDED, exact_clipped_each(of_steps, count_steps, 0.05), CLIPPED),
    Case("mlp, clipped each, by means", TABULAR, averaged(of_classes, clip=0.05, reported="none"),
         (*CLIPPED, *MEANS)),
    Case("mlp, not divided, clipped once", TABULAR, averaged(of_classes, 1, "none", clip=0.001),
         (*UNDIVIDED, *CLIPPED)),
    Case("mlp, says the last", TABULAR, exact_but_says(of_classes, "last"), LOSS),
    Case("mlp, says the mean of means", TABULAR, exact_but_says(of_classes, "mean"), LOSS),
    Case("cnn, says the sum", IMAGES, exact_but_says(of_classes, "sum"), LOSS),
    Case("transformer, says the last over k", TEXT, exact_but_says(of_tokens, "last/k"), LOSS),
    Case("transformer, by means, says the last", TEXT, averaged(of_tokens, reported="last"),
         (*MEANS, *LOSS)),
    Case("mlp, not divided, says the last", TABULAR, averaged(of_classes, 1, "last"),
         (*UNDIVIDED, *LOSS)),
    Case("mlp, batch norm", TABULAR, exact(of_classes, report=False), NORM, model=Normed),
    Case("cnn, batch norm", IMAGES, exact(of_classes), NORM, model=NormedCNN),
    Case("cnn, batch norm, by means", IMAGES, averaged(of_classes), (*NORM, *MEANS),
         model=NormedCNN),
    Case("mlp, noise", TABULAR, exact(of_classes), DRAWS, model=Noisy),
    Case("mlp, contrastive", TABULAR, averaged(contrastive, reported="none"), COUPLED),
    Case("mlp, batch dice", TABULAR, averaged(dice), COUPLED),
    Case("mlp, root of a mean", TABULAR, averaged(root), COUPLED),
    Case("mlp, counts its calls", TABULAR, remembering, LEAK),
    Case("mlp, a running scale", TABULAR, with_cached_scale, LEAK),
    Case("gru, state carried over", PADDED, exact(of_steps), LEAK, model=Carrying),
    Case("gru, by means, dropout held still", TABULAR, averaged(of_classes), MEANS, model=Dropped),
]  # fmt: skip


# over ranks: everything can be found by name, so that other processes can import it


def over_ranks(value):
    total = torch.as_tensor(float(value), dtype=torch.float64)
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(total)
    return total.item()


def world_size():
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def pooled_over_ranks(model, optimizer, batches):
    optimizer.zero_grad()
    weight = over_ranks(sum(len(batch[1]) for batch in batches))
    value = 0.0
    for batch in batches:
        part = of_classes(model, batch)[0] / weight
        (part * world_size()).backward()
        value += part.item()
    optimizer.step()
    return over_ranks(value)


def without_world_size(model, optimizer, batches):
    """Divides by the weight of all ranks, and the wrapper once more; says this rank's part."""
    optimizer.zero_grad()
    weight = over_ranks(sum(len(batch[1]) for batch in batches))
    value = 0.0
    for batch in batches:
        part = of_classes(model, batch)[0] / weight
        part.backward()
        value += part.item()
    optimizer.step()
    return value


def own_mean(model, optimizer, batches):
    """Exact within a rank; the wrapper averages the ranks."""
    optimizer.zero_grad()
    weight = sum(len(batch[1]) for batch in batches)
    value = 0.0
    for batch in batches:
        part = of_classes(model, batch)[0] / weight
        part.backward()
        value += part.item()
    optimizer.step()
    return over_ranks(value) / world_size()


def second_rank():
    return torch.distributed.is_initialized() and torch.distributed.get_rank() == 1


def light_on_rank_one(model, optimizer, batches):
    """Right on one process; what the second rank has counts less."""
    optimizer.zero_grad()
    weight = over_ranks(sum(len(batch[1]) for batch in batches))
    for batch in batches:
        share = 0.7 if second_rank() else 1.0
        (of_classes(model, batch)[0] / weight * world_size() * share).backward()
    optimizer.step()


def light_shard(model, batches):
    """Right on one process; what the second rank has counts less."""
    return exact_shards(model, batches) - over_ranks(0.1 if second_rank() else 0.0)


def pooled_and_says_its_own(model, optimizer, batches):
    plain = model.module if hasattr(model, "module") else model
    with torch.no_grad():
        value = sum(of_classes(plain, batch)[0].item() for batch in batches)
    pooled_over_ranks(model, optimizer, batches)
    return value / sum(len(batch[1]) for batch in batches)


def pooled_by_hand(model, optimizer, batches):
    """No wrapper: sums gradients over ranks itself, also where a rank has nothing."""
    optimizer.zero_grad()
    weight = over_ranks(sum(len(batch[1]) for batch in batches))
    for batch in batches:
        (of_classes(model, batch)[0] / weight).backward()
    for param in model.parameters():
        if param.grad is None:
            param.grad = torch.zeros_like(param)
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(param.grad)
    optimizer.step()


def fails_on_rank_one(model, optimizer, batches):
    if torch.distributed.is_initialized() and torch.distributed.get_rank() == 1:
        raise KeyError("labels")
    pooled_over_ranks(model, optimizer, batches)


def dies_on_rank_one(model, optimizer, batches):
    if torch.distributed.is_initialized() and torch.distributed.get_rank() == 1:
        os._exit(9)
    pooled_over_ranks(model, optimizer, batches)


def hangs_on_rank_one(model, optimizer, batches):
    if torch.distributed.is_initialized() and torch.distributed.get_rank() == 0:
        torch.distributed.barrier()
    optimizer.zero_grad()
    of_classes(model.module if hasattr(model, "module") else model, batches[0])[0].backward()
    optimizer.step()


class Small(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 3)


SMALL = World(Small, vectors)
RANKS = {"cuts": "halves,ranks-2-even,ranks-2-uneven", "ranks": (2,)}
SIZE = ("world-size-factor",)

OVER_RANKS = [
    Case("pooled", SMALL, pooled_over_ranks, more=RANKS),
    Case("pooled, sharded", SMALL, pooled_over_ranks, more={**RANKS, "wrap": "fsdp2"}),
    Case("pooled by hand", SMALL, pooled_by_hand, more={"ranks": (2,), "wrap": None}),
    Case("no factor", SMALL, without_world_size, (*SIZE, *LOSS), more=RANKS),
    Case("mean of ranks' means", SMALL, own_mean, MEANS, more=RANKS),
    Case("each says its own", SMALL, pooled_and_says_its_own, LOSS, more=RANKS),
    Case("less on the second rank", SMALL, light_on_rank_one, ("unknown",), more=RANKS),
]


# evaluations: run(model, batches) -> float


def evaluation(loss, how):
    def run(model, batches):
        pairs = []
        with torch.no_grad():
            for batch in batches:
                total, weight = loss(model, batch)
                pairs.append((total.item(), float(weight), size_of(batch)))
        return summarise(pairs, how)

    return run


def summarise(pairs, how):
    if how == "pooled":
        return sum(t for t, _, _ in pairs) / sum(w for _, w, _ in pairs)
    means = [t / w if w else float("nan") for t, w, _ in pairs]
    if how == "means":
        return sum(means) / len(means)
    if how == "by samples":
        return sum(m * n for m, (_, _, n) in zip(means, pairs, strict=True)) / sum(
            n for _, _, n in pairs
        )
    if how == "without nan":
        good = [(t, w) for t, w, _ in pairs if t == t]
        return sum(t for t, _ in good) / sum(w for _, w in good)
    if how == "sum":
        return sum(means)
    if how == "over samples":
        return sum(means) / sum(n for _, _, n in pairs)
    if how == "perplexity of means":
        return 2.0 ** (sum(means) / len(means))
    if how == "perplexity":
        return 2.0 ** (sum(t for t, _, _ in pairs) / sum(w for _, w, _ in pairs))
    return means[-1]


def padded_shards(model, batches):
    """Hands the first batches out again until every rank has as many, and averages."""
    rank, world = torch.distributed.get_rank() if world_size() > 1 else 0, world_size()
    padded = batches + batches[: -len(batches) % world]
    with torch.no_grad():
        pairs = [of_classes(model, batch) for batch in padded[rank::world]]
    total, weight = sum(t.item() for t, _ in pairs), sum(w for _, w in pairs)
    return over_ranks(total) / over_ranks(weight)


def exact_shards(model, batches):
    with torch.no_grad():
        pairs = [of_classes(model, batch) for batch in batches]
    return over_ranks(sum(t.item() for t, _ in pairs)) / over_ranks(sum(w for _, w in pairs))


@torch.no_grad()
def weighted_and_z(model, batches):
    """The mean of batches' objectives, each the sum of two means of unlike weights."""
    values = [
        (mean_of(of_weighted_classes, model, b) + mean_of(of_z, model, b)).item() for b in batches
    ]
    return sum(values) / len(values)


EVALUATE = {"kind": "evaluate"}
DROPPED = ("nan-batch-dropped",)

EVALUATIONS = [
    Case("pooled", TABULAR, evaluation(of_classes, "pooled"), unit="sample", more=EVALUATE),
    Case("pooled over steps", PADDED, evaluation(of_steps, "pooled"), unit="element",
         more=EVALUATE),
    Case("perplexity of all", TEXT, evaluation(of_tokens, "perplexity"), unit="element",
         more=EVALUATE),
    Case("perplexity of means", TEXT, evaluation(of_tokens, "perplexity of means"), MEANS,
         unit="element", more=EVALUATE),
    Case("perplexity of means over steps", PADDED, evaluation(of_steps, "perplexity of means"),
         (*MEANS, *EMPTY), more=EVALUATE),
    Case("means over the number of samples", TABULAR, evaluation(of_classes, "over samples"),
         MEANS, more=EVALUATE),
    Case("token means over the number of samples", TEXT, evaluation(of_tokens, "over samples"),
         MEANS, more=EVALUATE),
    Case("means", TABULAR, evaluation(of_classes, "means"), MEANS, more=EVALUATE),
    Case("means over steps", PADDED, evaluation(of_steps, "means"), (*MEANS, *EMPTY),
         more=EVALUATE),
    Case("means over tokens", TEXT, evaluation(of_tokens, "means"), MEANS, more=EVALUATE),
    Case("means by samples", TEXT, evaluation(of_tokens, "by samples"), MEANS, more=EVALUATE),
    Case("class weights each", TABULAR, evaluation(of_weighted_classes, "by samples"), WEIGHTS,
         more=EVALUATE),
    Case("padding counted", PADDED, evaluation(of_padded_steps, "pooled"), PADDING, more=EVALUATE),
    Case("a sum of means", TABULAR, evaluation(of_classes, "sum"), UNDIVIDED, more=EVALUATE),
    Case("the last", TABULAR, evaluation(of_classes, "last"), ONE, more=EVALUATE),
    Case("batch dice", TABULAR, evaluation(dice, "pooled"), COUPLED, more=EVALUATE),
    Case("class weights and a z-loss", TABULAR, weighted_and_z, (*MEANS, *WEIGHTS), more=EVALUATE),
    Case("without nan", TABULAR, evaluation(of_classes, "without nan"), DROPPED, more=EVALUATE),
]  # fmt: skip

EVALUATED_OVER_RANKS = [
    Case("pooled", SMALL, exact_shards, more={**EVALUATE, "ranks": (2,)}),
    Case("less on the second rank", SMALL, light_shard, ("unknown",),
         more={**EVALUATE, "ranks": (2,)}),
    Case("padded", SMALL, padded_shards, ("duplicated-samples",),
         more={**EVALUATE, "ranks": (2,), "shards": "own"}),
]  # fmt: skip
