"""Data sets read from their published files, and batches drawn from memory.

Batches                   batches from tensors in memory; order by seed and epoch; over ranks
Ragged, Packed, pad       sequences of unequal length, padded or packed
shard, ShardSampler       every sample on exactly one rank
load_mnist, load_fashion_mnist, load_images, load_digits    images with labels
normalise                 uint8 images to floats, a batch at a time
check_labels, check_finite    what a data set is checked for; the sample is named
"""

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
from batchproof.data._ragged import Packed, Ragged, pad
from batchproof.data._shards import ShardSampler, shard

__all__ = [
    "Batches",
    "ImageData",
    "Images",
    "Packed",
    "Ragged",
    "ShardSampler",
    "check_finite",
    "check_labels",
    "load_digits",
    "load_fashion_mnist",
    "load_images",
    "load_mnist",
    "normalise",
    "pad",
    "read_idx",
    "shard",
]
