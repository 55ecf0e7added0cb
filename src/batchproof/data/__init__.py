"""Data sets read from their published files, and batches drawn from memory.

Batches                   batches from tensors in memory; order by seed and epoch; over ranks
Ragged, Packed, pad       sequences of unequal length, padded or packed
shard, ShardSampler       every sample on exactly one rank
plan, Cost                the cheapest cut of a window into micro-batches, over ranks
recut                     the samples of a window in other micro-batches, padding trimmed
windows_of                windows of a data set, cut before they are collated, over ranks
Window, Padding           the micro-batches of a window, and how much of them is padding
load_mnist, load_fashion_mnist, load_images, load_digits    images with labels
normalise                 uint8 images to floats, a batch at a time
load_japanese_vowels, generate_sequences    sequences of unequal length, with a kind each
load_names, load_tiny_shakespeare, load_text, words_of, text_of, cut_windows    text, as codes
load_adult                a table with survey weights
check_labels, check_finite    checks of a data set, whose errors name the sample
"""

from batchproof._extras import naming_extra

with naming_extra(__name__):
    from batchproof._plan import Cost, plan
    from batchproof.data._adult import Rows, TableData, load_adult
    from batchproof.data._batches import Batches
    from batchproof.data._checks import check_finite, check_labels
    from batchproof.data._images import (
        ImageData,
        Images,
        load_digits,
        load_fashion_mnist,
        load_images,
        load_mnist,
        normalise,
        read_idx,
    )
    from batchproof.data._layout import Lengths
    from batchproof.data._pack import Pack
    from batchproof.data._ragged import Packed, Ragged, pad
    from batchproof.data._recut import recut
    from batchproof.data._shards import ShardSampler, shard
    from batchproof.data._text import (
        Alphabet,
        Text,
        Words,
        cut_windows,
        load_names,
        load_text,
        load_tiny_shakespeare,
        text_of,
        words_of,
    )
    from batchproof.data._vowels import (
        SequenceData,
        Sequences,
        generate_sequences,
        load_japanese_vowels,
    )
    from batchproof.data._window import Padding, Window
    from batchproof.data._windows_of import DatasetWindows, windows_of

__all__ = [
    "Alphabet",
    "Batches",
    "Cost",
    "DatasetWindows",
    "ImageData",
    "Images",
    "Lengths",
    "Pack",
    "Packed",
    "Padding",
    "Ragged",
    "Rows",
    "SequenceData",
    "Sequences",
    "ShardSampler",
    "TableData",
    "Text",
    "Window",
    "Words",
    "check_finite",
    "check_labels",
    "cut_windows",
    "generate_sequences",
    "load_adult",
    "load_digits",
    "load_fashion_mnist",
    "load_images",
    "load_japanese_vowels",
    "load_mnist",
    "load_names",
    "load_text",
    "load_tiny_shakespeare",
    "normalise",
    "pad",
    "plan",
    "read_idx",
    "recut",
    "shard",
    "text_of",
    "windows_of",
    "words_of",
]
