"""A ragged epoch in other people's trainers, as they come and re-cut.

    python benchmarks/trainers.py [--rounds N] [--quick] [--out FILE]

A BERT of 4 layers and width 128 is fine-tuned for an epoch as a classifier, by AdamW, on one
thread, in windows of 8 micro-batches of 8, by transformers' Trainer, Lightning's and a loop with
accelerate; sequences and weights at the start are the same. Lengths are log-normal,
exp(4.3 + 0.9 z) clipped to 8 and 512. The sides of a trainer run in turns:

as it comes      its own loader and its own padding
by length        transformers alone: group_by_length, whose windows hold other samples
re-cut           our integration with tokens=, half of the largest micro-batch

Seconds are of the processor, ratios of two sides in one round; medians with quartiles and range.
Under 8 minutes; --quick is a tiny epoch of each, and keeps nothing. What an exact step costs where
nothing is re-cut is in integrations_overhead.py.

The goal: re-cut at least 1.8 times faster than transformers as it comes.
"""

import functools
from pathlib import Path

from _bert import VOCABULARY, bert, by_accelerate, by_lightning, by_transformers, quiet, seconds
from _measure import heading, keep, parser, summary

WIDTH, LONGEST, BATCH, ACCUMULATE = 128, 512, 8, 8


def ragged(count):
    """Return lengths of sequences that differ as those of texts do."""
    import torch

    draw = torch.Generator().manual_seed(1)
    drawn = (torch.randn(count, generator=draw) * 0.9 + 4.3).exp()
    return drawn.clamp(8, LONGEST).long().tolist()


def samples_of(lengths):
    """Return sequences of these lengths, each with a class."""
    import torch

    draw = torch.Generator().manual_seed(2)
    return [
        {
            "input_ids": torch.randint(1, VOCABULARY, (length,), generator=draw),
            "labels": torch.randint(3, (), generator=draw),
        }
        for length in lengths
    ]


def collate(samples):
    """Return a padded batch."""
    import torch

    pad = functools.partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
    ids = [sample["input_ids"] for sample in samples]
    mask = pad([torch.ones_like(each) for each in ids])
    labels = torch.stack([sample["labels"] for sample in samples])
    return {"input_ids": pad(ids), "attention_mask": mask, "labels": labels}


def loader_of(samples):
    import torch

    return torch.utils.data.DataLoader(samples, batch_size=BATCH, collate_fn=collate)


def of_transformers(model, loader, accumulate, *, grouped=False, **settings):
    """Return a function that trains an epoch in the order given, or grouped by length."""
    return by_transformers(
        model,
        loader,
        accumulate,
        train_sampling_strategy="group_by_length" if grouped else "sequential",
        max_grad_norm=0.0,
        lr_scheduler_type="constant",
        **settings,
    )


TRAINERS = {
    "transformers": of_transformers,
    "lightning": by_lightning,
    "accelerate": by_accelerate,
}


def epoch(make, samples, **settings):
    """Return the processor's time of one epoch."""
    return seconds(make, bert(WIDTH, LONGEST), loader_of(samples), ACCUMULATE, **settings)


def rounds_of(sides, rounds):
    """Return the seconds of each side in each round; every second round backwards."""
    found = {name: [] for name in sides}
    for number in range(rounds):
        order = list(sides) if number % 2 else list(reversed(sides))
        for name in order:
            found[name].append(sides[name]())
    return found


def compared(found, first):
    """Return each side's seconds, and how many times faster than the first it was."""
    return {
        name: {
            "seconds": summary(times),
            "faster": summary([a / b for a, b in zip(found[first], times, strict=True)]),
        }
        for name, times in found.items()
    }


def ragged_epochs(samples, rounds):
    """Return a ragged epoch of each trainer, as it comes and re-cut."""
    lengths = [len(sample["input_ids"]) for sample in samples]
    batches = [lengths[i : i + BATCH] for i in range(0, len(lengths), BATCH)]
    tokens = max(BATCH * max(batch) for batch in batches) // 2
    results = {"tokens": tokens}
    for name, make in TRAINERS.items():
        side = functools.partial(epoch, make, samples)
        sides = {"as it comes": functools.partial(side, exact=False)}
        if name == "transformers":
            sides["by length"] = functools.partial(side, exact=False, grouped=True)
        sides["re-cut"] = functools.partial(side, exact=True, tokens=tokens)
        results[name] = compared(rounds_of(sides, rounds), "as it comes")
        for label, row in results[name].items():
            print(f"{name}, {label}: {row['faster']['median']} times faster", flush=True)
    return results


def main():
    line = parser(__doc__)
    line.add_argument("--rounds", type=int, default=5)
    line.add_argument("--quick", action="store_true")
    line.add_argument("--out", type=Path)
    chosen = line.parse_args()
    quiet()
    count, rounds = (64, 1) if chosen.quick else (256, chosen.rounds)
    packages = ("torch", "transformers", "lightning", "accelerate")
    found = heading("a ragged epoch", threads=1, packages=packages)
    found["goals"] = {"re-cut, times faster": 1.8}
    found["ragged epoch"] = ragged_epochs(samples_of(ragged(count)), rounds)
    if chosen.out or not chosen.quick:
        keep("trainers", found, out=chosen.out)


if __name__ == "__main__":
    main()
