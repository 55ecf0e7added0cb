"""A table whose rows count unevenly, by survey weights.

    batchproof train tabular_weighted --data DIR  UCI Adult, by fnlwgt
    batchproof train tabular_weighted             a generated survey; no files

A row of the census represents fnlwgt people, from 12,000 to 1.5 million, so loss and accuracy are
means over people, not over rows; the breakdown by --by recombines to the total exactly.

Expect 85.6 % of the people right on Adult's test rows, 88 % in the generated survey.
"""

from typing import Annotated

import torch
from torch import Tensor, nn

import batchproof as bp
from batchproof import data
from batchproof.recipes import Between, Results, Settings, run


def generated(samples: int = 6000) -> data.TableData:
    """Return a survey of town and country; countryside rows represent four times the people."""
    draw = torch.Generator().manual_seed(0)
    numbers = torch.randn(samples, 2, generator=draw)
    region = torch.randint(2, (samples,), generator=draw)
    score = 1.5 * numbers[:, 0] - numbers[:, 1] + 1.5 * region
    labels = (score + torch.randn(samples, generator=draw) > 0).long()
    weight = (1 + 3 * region) * (0.5 + torch.rand(samples, generator=draw))
    rows = [numbers, region[:, None], labels, weight.double()]
    cut = samples * 4 // 5
    train, test = data.Rows(*(r[:cut] for r in rows)), data.Rows(*(r[cut:] for r in rows))
    return data.TableData("survey", train, test, ("a", "b"), {"region": ("town", "country")})


def network(inputs: int, width: int) -> nn.Sequential:
    """Return a network of one hidden layer and two classes."""
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, 2))


def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> bp.Outcome:
    """Return cross-entropy and accuracy as means over people."""
    features, labels, weight, _ = batch
    logits = model(features)
    criterion = bp.exact(nn.CrossEntropyLoss())
    accuracy = bp.accuracy(logits, labels, weight=weight)
    return bp.Outcome(
        criterion(logits, labels, weight=weight),
        {"accuracy": accuracy, "accuracy_of_rows": bp.accuracy(logits, labels)},
    )


def main(
    settings: Settings = Settings(epochs=5, batch_size=128, lr=0.002),
    *,
    by: Annotated[str | None, "category of the breakdown; without it sex, or region"] = None,
    width: Annotated[int, Between(1, 4096), "features in the hidden layer"] = 64,
) -> Results:
    """Train on people, and measure loss and accuracy over all of them and by group."""
    if settings.data is None:
        table = generated()
    else:
        table = data.load_adult(settings.folder("https://archive.ics.uci.edu/dataset/2"))
    category = by or ("sex" if "sex" in table.categories else "region")
    held_out = torch.arange(len(table.train)) % 10 == 0

    def columns(rows: data.Rows) -> tuple[Tensor, ...]:
        return table.features(rows), rows.labels, rows.weight, table.group(rows, category)

    features = columns(table.train)
    train = settings.batches(*(column[~held_out] for column in features), shuffle=True)
    val = settings.batches(*(column[held_out] for column in features))
    test = settings.batches(*columns(table.test))

    torch.manual_seed(settings.seed)
    model = network(features[0].shape[1], width)
    optimizer = torch.optim.AdamW(model.parameters(), settings.lr)
    groups = table.categories[category]
    trainer = settings.trainer(
        model, loss, optimizer, data=table.name, by=lambda batch: batch[3], groups=groups
    )
    history = settings.fit(trainer, train, val)
    estimates = {"validation": trainer.evaluate(val), "test": trainer.evaluate(test)}
    return Results(history, estimates, table.name)


if __name__ == "__main__":
    run(main)
