"""The command line of the benchmarks that train LeNet-5 on MNIST, and what they write."""

import json
from pathlib import Path

import torch
from _measure import heading, keep, parser

from batchproof.data import load_mnist

BATCH_SIZES = (64, 256)
QUICK_IMAGES = 4096


def measure_on_mnist(name, doc, measured, goals):
    """Measure at both batch sizes, print what was found, and write it as results/NAME-DATE.json.

    Args:
        name: the script's.
        doc: the script's docstring.
        measured: called as measured(images, labels, batch_size, rounds).
        goals: kept beside the figures.
    """
    options = _options(doc)
    torch.set_num_threads(options.threads)
    train = load_mnist(options.data).train
    whole = len(train.labels), options.rounds
    count, rounds = (QUICK_IMAGES, 1) if options.quick else whole
    images, labels = train.images[:count], train.labels[:count]
    found = {
        **heading(doc.splitlines()[0], threads=options.threads, packages=("torch", "batchproof")),
        "images": count,
        "rounds": rounds,
        "goals": goals,
        "batch_size": {str(size): measured(images, labels, size, rounds) for size in BATCH_SIZES},
    }
    print(json.dumps(found, indent=1))
    if not options.quick or options.out:
        print(f"written to {keep(name, found, out=options.out)}")


def _options(doc):
    options = parser(doc)
    options.add_argument("--data", type=Path, required=True, help="folder of the MNIST files")
    options.add_argument("--quick", action="store_true", help="4,096 images and one round")
    options.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    options.add_argument("--threads", type=int, default=2, help="(default: %(default)s)")
    options.add_argument("--out", type=Path, help="file to write; with --quick none by default")
    return options.parse_args()
