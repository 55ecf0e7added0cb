"""Four small models (MLP, GRU over padded sequences, causal transformer, CNN) and samples."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence


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


class Small(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 3)


SMALL = World(Small, vectors)
