"""What an exact step costs in other people's trainers, beside the step that is their own.

    python benchmarks/integrations_overhead.py [--windows N] [--pairs N] [--only TRAINER] [--quick]
        [--out FILE]

A BERT of 4 layers and width 256 over 8 sequences of 64 is trained by AdamW in transformers,
Lightning, accelerate and ignite. In skorch, fastai and Keras two are: a perceptron, 256 wide over
256 rows, whose step takes about 2 ms, so that the fixed cost shows; and a network of two
convolutions over 64 pictures of 28 by 28. One micro-batch is a window, and 4 are. Both sides train
at the same time, each in its own process, and take turns at each micro-batch; what is counted is
the processor's time from the start of one forward pass to that of the next. Per window, the ratio
of both sides and what it takes longer in microseconds, with median, quartiles and range. `pairs`
has the median of each pair of processes: where the system puts their memory differs from one to the
next. The first 4 windows of each are left out.

As it comes, skorch has no accumulation: its rows compare the callback without accumulate. About 45
minutes; the result is written after each row. The goal is a median of 1.02.
"""

import functools
import os
import statistics
from pathlib import Path

from _bert import VOCABULARY, adam, bert, by_accelerate, by_lightning, by_transformers, quiet
from _measure import heading, keep, parser, summary
from _turns import alternate

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


def hooked(network, turn):
    """Return the network, which takes its turn at each forward pass."""
    network.register_forward_pre_hook(turn)
    return network


def loader_of(steps):
    import torch

    return torch.utils.data.DataLoader(sequences(steps), batch_size=ROWS)


def of_bert(make):
    """Return what trains BERT over so many micro-batches in a trainer."""

    def by_trainer(steps, accumulate, *, exact, turn):
        network = hooked(bert(WIDE, LENGTH), turn)
        return make(network, loader_of(steps), accumulate, exact=exact)

    return by_trainer


def by_ignite(steps, accumulate, *, exact, turn):
    import torch
    from ignite.engine import Engine, create_supervised_trainer

    import batchproof
    from batchproof.integrations.ignite import update

    model, criterion = hooked(bert(WIDE, LENGTH), turn), torch.nn.CrossEntropyLoss()
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


def by_skorch(steps, accumulate, *, exact, turn, network=perceptron, data=perceptron_rows):
    import skorch
    import torch

    from batchproof.integrations.skorch import ExactLosses

    size, inputs, targets = data(steps)
    callback = ExactLosses() if accumulate == 1 else ExactLosses(accumulate=accumulate)
    net = skorch.NeuralNet(
        hooked(network(), turn),
        torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        batch_size=size,
        train_split=None,
        callbacks=[callback] if exact else [],
        verbose=0,
    ).initialize()
    return functools.partial(net.partial_fit, inputs, targets, epochs=1)


def by_fastai(steps, accumulate, *, exact, turn, network=perceptron, data=perceptron_rows):
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
        hooked(network(), turn),
        loss_func=torch.nn.CrossEntropyLoss(),
        cbs=[kind(accumulate * size)],
    )

    def train():
        with learner.no_bar(), learner.no_logging():
            learner.fit(1, lr=1e-4)

    return train


def by_keras(steps, accumulate, *, exact, turn, network=perceptron_of_keras, data=perceptron_rows):
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
    callbacks = [keras.callbacks.LambdaCallback(on_train_batch_begin=turn)]
    callbacks += [ExactAccumulation(accumulate)] if exact else []
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
UNCOUNTED = 4


def side(settings, turn):
    """Return what trains one side: of a trainer, so many micro-batches, a window of so many."""
    name, steps, accumulate, exact = settings
    quiet()
    return TRAINERS[name](steps, accumulate, exact=exact, turn=turn)


def row(name, windows, accumulate, pairs):
    """Return exact over own of each window, and the difference of a micro-batch."""
    steps = (windows + UNCOUNTED) * accumulate + 1
    sides = [(name, steps, accumulate, exact) for exact in (True, False)]
    found = []
    for number in range(pairs):
        order = -1 if number % 2 else 1  # every second pair begins with the other side
        exact, own = alternate(side, sides[::order])[::order]
        # counted from the end, for an exact side may look at its first batch by one pass more
        last = -windows * accumulate
        found.append((of_windows(exact[last:], accumulate), of_windows(own[last:], accumulate)))
    ratios = [[mine / theirs for mine, theirs in zip(*each, strict=True)] for each in found]
    times = [window for each in found for window in zip(*each, strict=True)]
    return {
        **summary([ratio for each in ratios for ratio in each]),
        "pairs": [round(statistics.median(each), 4) for each in ratios],
        "milliseconds": summary([own / accumulate * 1e3 for _, own in times]),
        "microseconds": summary([(exact - own) / accumulate * 1e6 for exact, own in times]),
    }


def of_windows(times, accumulate):
    """Return the seconds of each window."""
    return [sum(times[i : i + accumulate]) for i in range(0, len(times), accumulate)]


def main():
    line = parser(__doc__)
    line.add_argument(
        "--windows", type=int, default=30, help="of BERT in a pair; the small ones have 3 fold"
    )
    line.add_argument("--pairs", type=int, default=5, help="of processes for each row")
    line.add_argument("--only", choices=[*TRAINERS], help="one trainer")
    line.add_argument("--quick", action="store_true")
    line.add_argument("--out", type=Path)
    chosen = line.parse_args()
    result = heading("the overhead of exact steps", threads=1, packages=PACKAGES)
    result["goal"] = 1.02
    result["ratios"] = {}
    for name in TRAINERS:
        if chosen.only not in {None, name}:
            continue
        for accumulate in WINDOWS[name]:
            windows = 4 if chosen.quick else chosen.windows * (3 if name in SMALL else 1)
            found = row(name, windows, accumulate, 1 if chosen.quick else chosen.pairs)
            result["ratios"][f"{name}, accumulate {accumulate}"] = found
            print(f"{name}, accumulate {accumulate}: {found}", flush=True)
            if chosen.out or not (chosen.quick or chosen.only):
                keep("integrations-overhead", result, out=chosen.out)


if __name__ == "__main__":
    main()
