"""A probe: does this training step depend on how its data is cut?

    batchproof check {file}:step
    batchproof check {file}:step --ranks 1,2 --html report.html

The step below makes the classic mistake: it averages the means of micro-batches, which is the
mean over all tokens only where every micro-batch has equally many. Put your own model, collate
function and step in its place.
"""

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from batchproof.check import Probe

# tokens and labels
Batch = tuple[torch.Tensor, torch.Tensor]


class Tagger(nn.Module):
    """Gives every token of a sequence one of five classes."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(12, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits, one row per token."""
        logits: torch.Tensor = self.head(self.embed(tokens))
        return logits


def build() -> tuple[nn.Module, torch.optim.Optimizer]:
    """Make the model and its optimizer; the same each time, since seeds are set before."""
    model = Tagger()
    return model, torch.optim.AdamW(model.parameters(), lr=1e-3)


def collate(samples: list[Batch]) -> Batch:
    """Pad to the longest; -100 is not a label."""
    tokens = pad_sequence([t for t, _ in samples], batch_first=True)
    labels = pad_sequence([y for _, y in samples], batch_first=True, padding_value=-100)
    return tokens, labels


def run(model: nn.Module, optimizer: torch.optim.Optimizer, micro_batches: list[Batch]) -> float:
    """One optimizer step over these micro-batches; returns the loss that would be logged."""
    optimizer.zero_grad()
    logged = 0.0
    for tokens, labels in micro_batches:
        loss = nn.functional.cross_entropy(model(tokens).flatten(0, 1), labels.flatten())
        (loss / len(micro_batches)).backward()
        logged += loss.item() / len(micro_batches)
    optimizer.step()
    return logged


def samples() -> list[Batch]:
    """Eight sequences of unequal length."""
    draw = torch.Generator().manual_seed(0)
    lengths = (3, 9, 5, 2, 7, 4, 6, 8)
    return [
        (torch.randint(12, (n,), generator=draw), torch.randint(5, (n,), generator=draw))
        for n in lengths
    ]


step = Probe(run, samples, build, collate=collate)
