"""Data sets read from their published files, and batches drawn from memory.

Batches                   batches from tensors in memory; order by seed and epoch; over ranks
Ragged, Packed, pad       sequences of unequal length, padded or packed
shard, ShardSampler       every sample on exactly one rank
plan, Cost                the cheapest cut of a window into micro-batches, over ranks
recut                     the samples of a window in other micro-batches, padding trimmed
load_mnist, load_fashion_mnist, load_images, load_digits    images with labels
normalise                 uint8 images to floats, a batch at a time
load_japanese_vowels, generate_sequences    sequences of unequal length, with a kind each
load_names, load_tiny_shakespeare, load_text, words_of, text_of, cut_windows    text, as codes
load_adult                a table with survey weights
check_labels, check_finite    checks of a data set, whose errors name the sample
"""

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
from batchproof.data._plan import Cost, plan
from batchproof.data._ragged import Packed, Ragged, pad
from batchproof.data._recut import Lengths, recut
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

__all__ = [
    "Alphabet",
    "Batches",
    "Cost",
    "ImageData",
    "Images",
    "Lengths",
    "Packed",
    "Ragged",
    "Rows",
    "SequenceData",
    "Sequences",
    "ShardSampler",
    "TableData",
    "Text",
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
    "words_of",
]
