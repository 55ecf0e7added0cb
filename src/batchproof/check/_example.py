"""A probe file to start from; writing it loads no torch."""

from pathlib import Path

from batchproof._errors import ProbeError
from batchproof._files import write_file

EXAMPLE = '''"""A probe: does this training step depend on how its data is cut?

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


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(12, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(tokens))


def build() -> tuple[nn.Module, torch.optim.Optimizer]:
    """Make the model and its optimizer; the same each time, since seeds are set before."""
    model = Tagger()
    return model, torch.optim.AdamW(model.parameters(), lr=1e-3)


def collate(samples: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad to the longest; -100 is no label."""
    tokens = pad_sequence([t for t, _ in samples], batch_first=True)
    labels = pad_sequence([y for _, y in samples], batch_first=True, padding_value=-100)
    return tokens, labels


def run(model: nn.Module, optimizer: torch.optim.Optimizer, micro_batches: list) -> float:
    """One optimizer step over these micro-batches; returns the loss that would be logged."""
    optimizer.zero_grad()
    logged = 0.0
    for tokens, labels in micro_batches:
        loss = nn.functional.cross_entropy(model(tokens).flatten(0, 1), labels.flatten())
        (loss / len(micro_batches)).backward()
        logged += loss.item() / len(micro_batches)
    optimizer.step()
    return logged


def samples() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Eight sequences of unequal length."""
    draw = torch.Generator().manual_seed(0)
    lengths = (3, 9, 5, 2, 7, 4, 6, 8)
    return [
        (torch.randint(12, (n,), generator=draw), torch.randint(5, (n,), generator=draw))
        for n in lengths
    ]


step = Probe(run, samples, build, collate=collate)
'''


def write_example(path: str | Path = "probe.py") -> Path:
    """Write a probe file to start from.

    Args:
        path: the file to write.

    Returns:
        The file.

    Raises:
        ProbeError: if it exists, cannot be written, or would be no Python file.
    """
    target = Path(path)
    if target.suffix != ".py":
        raise ProbeError(f"{str(path)!r} is no name for a Python file; expected FILE.py.")
    if target.exists():
        raise ProbeError(
            f"{target} exists; choose another name for the example: "
            "batchproof check --example FILE.py"
        )
    try:
        return write_file(target, EXAMPLE.replace("{file}", str(target)))
    except OSError as error:
        raise ProbeError(f"{target} cannot be written: {error.strerror}.") from None
