"""What an exact step costs in other people's trainers, beside the step that is their own.

    python benchmarks/integrations_overhead.py [--rounds N] [--steps N] [--quick] [--out FILE]

A BERT of 4 layers and width 256 over 8 sequences of 64 is trained by AdamW in transformers,
Lightning, accelerate and ignite. In skorch, fastai and Keras two are: a perceptron, 256 wide over
256 rows, whose step takes about 2 ms, so that the fixed cost shows; and a network of two
convolutions over 64 pictures of 28 by 28. One micro-batch is a window, and 4 are. A round trains
both sides from scratch, each in a fresh instance, and turns their order; what is timed is the
training loop, in seconds of the processor. From each time that of a training of one window is taken
off, so that what a training does once is apart. Ratios of the two sides of a round, what a
micro-batch takes longer in microseconds, and what a training of one window takes longer in
milliseconds (`once`), with median, quartiles and range.

As it comes, skorch has no accumulation: its rows compare the callback without accumulate. About 9
minutes on a quiet machine; the result is written after each row. The goal is a median of 1.02.
"""

import functools
import os
from pathlib import Path

from _bert import (
    VOCABULARY,
    adam,
    bert,
    by_accelerate,
    by_lightning,
    by_transformers,
    quiet,
    seconds,
)
from _measure import heading, keep, parser, summary

os.environ.setdefault("KERAS_BACKEND", "torch")
ROWS, LENGTH, WIDE, MANY = 8, 64, 256, 256
PICTURES, SIDE = 64, 28
PACKAGES = (
    *("torch", "transformers", "lightning", "accelerate", "pytorch-ignite"),
    *("skorch", "fastai", "keras"),
)


def sequences(steps):
    """Return the samples of so many micro-batches of BERT."""
    import torch

    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(1, VOCABULARY, (steps * ROWS, LENGTH), generator=draw)
    labels = torch.randint(3, (steps * ROWS,), generator=draw)
    mask = torch.ones(LENGTH, dtype=torch.long)
    return [
        {"input_ids": row, "attention_mask": mask, "labels": label}
        for row, label in zip(ids, labels, strict=True)
    ]


def perceptron_rows(steps):
    """Return the batch size of the perceptron, with inputs and targets of so many batches."""
    import torch

    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(steps * MANY, 64, generator=draw)
    return MANY, inputs, torch.randint(10, (steps * MANY,), generator=draw)


def pictures(steps):
    """Return the batch size of the convolutions, with inputs and targets of so many batches."""
    import torch

    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(steps * PICTURES, 1, SIDE, SIDE, generator=draw)
    return PICTURES, inputs, torch.randint(10, (steps * PICTURES,), generator=draw)


def perceptron():
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers = [nn.Linear(64, WIDE), nn.ReLU(), nn.Linear(WIDE, WIDE), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(WIDE, 10))


def convolutions():
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 12 * 12, 10))


def perceptron_of_keras(keras):
    layers = [keras.layers.Dense(WIDE, activation="relu") for _ in range(2)]
    return [keras.layers.Input((64,)), *layers]


def convolutions_of_keras(keras):
    first, pool = {"data_format": "channels_first"}, keras.layers.MaxPooling2D
    layers = [keras.layers.Conv2D(n, 3, activation="relu", **first) for n in (32, 64)]
    end = [pool(2, **first), keras.layers.Flatten()]
    return [keras.layers.Input((1, SIDE, SIDE)), *layers, *end]


def loader_of(steps):
    import torch

    return torch.utils.data.DataLoader(sequences(steps), batch_size=ROWS)


def of_bert(make):
    """Return what trains BERT over so many micro-batches in a trainer."""

    def by_trainer(steps, accumulate, *, exact):
        return make(bert(WIDE, LENGTH), loader_of(steps), accumulate, exact=exact)

    return by_trainer


def by_ignite(steps, accumulate, *, exact):
    import torch
    from ignite.engine import Engine, create_supervised_trainer

    import batchproof
    from batchproof.integrations.ignite import update

    model, criterion = bert(WIDE, LENGTH), torch.nn.CrossEntropyLoss()
    optimizer, loader = adam(model), loader_of(steps)
    model.train()

    def logits(batch):
        return model(batch["input_ids"], batch["attention_mask"]).logits

    if not exact:
        trainer = create_supervised_trainer(
            model,
            optimizer,
            criterion,
            prepare_batch=lambda batch, *_, **__: (batch, batch["labels"]),
            model_fn=lambda _, batch: logits(batch),
            gradient_accumulation_steps=accumulate,
        )
        return functools.partial(trainer.run, loader)
    pairs = batchproof.exact(criterion)
    step = batchproof.Step(model, optimizer)
    trainer = Engine(update(step, lambda _, batch: pairs(logits(batch), batch["labels"])))
    return lambda: trainer.run(batchproof.windows(loader, accumulate=accumulate))


def by_skorch(steps, accumulate, *, exact, network=perceptron, data=perceptron_rows):
    import skorch
    import torch

    from batchproof.integrations.skorch import ExactLosses

    size, inputs, targets = data(steps)
    callback = ExactLosses() if accumulate == 1 else ExactLosses(accumulate=accumulate)
    net = skorch.NeuralNet(
        network(),
        torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        batch_size=size,
        train_split=None,
        callbacks=[callback] if exact else [],
        verbose=0,
    ).initialize()
    return functools.partial(net.partial_fit, inputs, targets, epochs=1)


def by_fastai(steps, accumulate, *, exact, network=perceptron, data=perceptron_rows):
    import torch
    from fastai.callback.training import GradientAccumulation
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from fastai.learner import Learner

    from batchproof.integrations.fastai import ExactAccumulation

    size, *columns = data(steps)
    samples = list(zip(*columns, strict=True))
    kind = ExactAccumulation if exact else GradientAccumulation
    learner = Learner(
        DataLoaders(DataLoader(samples, bs=size), DataLoader(samples[:1], bs=1)),
        network(),
        loss_func=torch.nn.CrossEntropyLoss(),
        cbs=[kind(accumulate * size)],
    )

    def train():
        with learner.no_bar(), learner.no_logging():
            learner.fit(1, lr=1e-4)

    return train


def by_keras(steps, accumulate, *, exact, network=perceptron_of_keras, data=perceptron_rows):
    import keras

    from batchproof.integrations.keras import ExactAccumulation

    keras.utils.set_random_seed(0)
    size, *columns = data(steps)
    model = keras.Sequential([*network(keras), keras.layers.Dense(10)])
    own = accumulate if accumulate > 1 and not exact else None
    model.compile(
        keras.optimizers.AdamW(1e-4, gradient_accumulation_steps=own),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    inputs, targets = (each.numpy() for each in columns)
    callbacks = [ExactAccumulation(accumulate)] if exact else []
    return functools.partial(
        model.fit, inputs, targets, batch_size=size, callbacks=callbacks, verbose=0
    )


def of_pictures(make, network):
    return functools.partial(make, network=network, data=pictures)


SMALL = ("skorch", "fastai", "keras")
TRAINERS = {
    "transformers": of_bert(by_transformers),
    "lightning": of_bert(by_lightning),
    "accelerate": of_bert(by_accelerate),
    "ignite": by_ignite,
    "skorch": by_skorch,
    "fastai": by_fastai,
    "keras": by_keras,
    "skorch, convolutions": of_pictures(by_skorch, convolutions),
    "fastai, convolutions": of_pictures(by_fastai, convolutions),
    "keras, convolutions": of_pictures(by_keras, convolutions_of_keras),
}
WINDOWS = {name: (1,) if name.startswith("skorch") else (1, 4) for name in TRAINERS}


def row(make, steps, accumulate, rounds):
    """Return exact over own of each round, and their difference; every second one turned round."""
    side = functools.partial(seconds, make)
    side(accumulate, accumulate, exact=True), side(accumulate, accumulate, exact=False)
    ratios, microseconds, once = [], [], []
    for number in range(rounds):
        order = (False, True) if number % 2 else (True, False)
        first = {exact: side(accumulate, accumulate, exact=exact) for exact in order}
        every = {exact: side(accumulate + steps, accumulate, exact=exact) for exact in order}
        exact, own = (every[is_exact] - first[is_exact] for is_exact in (True, False))
        ratios.append(exact / own)
        microseconds.append((exact - own) / steps * 1e6)
        once.append((first[True] - first[False]) * 1e3)
    return {
        **summary(ratios),
        "microseconds": summary(microseconds),
        "once": summary(once),
    }


def main():
    line = parser(__doc__)
    line.add_argument("--rounds", type=int, default=12)
    line.add_argument(
        "--steps", type=int, default=16, help="of the BERT; the perceptron has 8 fold"
    )
    line.add_argument("--only", choices=[*TRAINERS], help="one trainer")
    line.add_argument("--quick", action="store_true")
    line.add_argument("--out", type=Path)
    chosen = line.parse_args()
    quiet()
    steps, rounds = (4, 2) if chosen.quick else (chosen.steps, chosen.rounds)
    result = heading("the overhead of exact steps", threads=1, packages=PACKAGES)
    result["goal"] = 1.02
    result["ratios"] = {}
    for name, make in TRAINERS.items():
        if chosen.only not in {None, name}:
            continue
        for accumulate in WINDOWS[name]:
            count = steps * (8 if name in SMALL else 1)
            found = row(make, count, accumulate, rounds)
            result["ratios"][f"{name}, accumulate {accumulate}"] = found
            print(f"{name}, accumulate {accumulate}: {found}", flush=True)
            if chosen.out or not (chosen.quick or chosen.only):
                keep("integrations-overhead", result, out=chosen.out)


if __name__ == "__main__":
    main()
