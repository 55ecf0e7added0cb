"""Data sets of small images with labels: MNIST and Fashion-MNIST from IDX files, and digits.

An IDX file is big-endian: two zero bytes, a type (8 is uint8), the number of dimensions, the
dimensions as 32-bit integers, then the values.

References:
    LeCun, Cortes, Burges: The MNIST database of handwritten digits.
    Xiao, Rasul, Vollgraf (2017): Fashion-MNIST, arXiv 1708.07747.
    Alpaydin, Kaynak (1998): Optical recognition of handwritten digits, UCI 80.
"""

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.types import Number

from batchproof._errors import DataError
from batchproof._files import MEBIBYTE
from batchproof.data._checks import check_labels
from batchproof.data._files import (
    check_digest,
    damaged,
    fetch,
    find_file,
    find_folder,
    md5,
    read_file,
    read_raw,
)

# the md5 of each file as it is published: MNIST's un-gzipped, Fashion-MNIST's gzipped
DIGESTS = {
    "train-images-idx3-ubyte": (
        "6bbc9ace898e44ae57da46a324031adb",
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    ),
    "train-labels-idx1-ubyte": (
        "a25bea736e30d166cdddb491f175f624",
        "25c81989df183df01b3e8a0aad5dffbe",
    ),
    "t10k-images-idx3-ubyte": (
        "2646ac647ad5339dbf082846283269ea",
        "bef4ecab320f06d8554ea6380940ec79",
    ),
    "t10k-labels-idx1-ubyte": (
        "27ae3e4e09519cfbb04c329615203637",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
}
FILES = tuple(DIGESTS)
LARGEST_IDX = 1024 * MEBIBYTE
MOST_DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class _Published:
    """A published data set: the folders that may hold it, its mirror, and its files' digests."""

    name: str
    folders: tuple[str, ...]
    mirror: str
    unzipped: bool
    digests: tuple[str, ...]


MNIST = _Published(
    name="MNIST",
    folders=("", "MNIST/raw", "mnist", "raw"),
    mirror="https://ossci-datasets.s3.amazonaws.com/mnist/",
    unzipped=True,
    digests=tuple(of_mnist for of_mnist, _ in DIGESTS.values()),
)
FASHION_MNIST = _Published(
    name="Fashion-MNIST",
    folders=("", "FashionMNIST/raw", "fashion-mnist", "raw"),
    mirror="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    unzipped=False,
    digests=tuple(of_fashion for _, of_fashion in DIGESTS.values()),
)


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Images and their labels.

    Attributes:
        images: grey levels, shape (samples, 1, height, width), uint8.
        labels: classes from 0, shape (samples,), int64.
    """

    images: UInt8[Tensor, "samples 1 height width"]
    labels: Int[Tensor, " samples"]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class ImageData:
    """A data set of images: those to train on, and those held out.

    Attributes:
        name: the data set's.
        train: images to train on.
        test: images held out.
        classes: the number of classes.
        levels: the largest grey level: 255, or 16 for the embedded digits.
    """

    name: str
    train: Images
    test: Images
    classes: int = 10
    levels: int = 255


def load_mnist(root: Path | str, *, download: bool = False) -> ImageData:
    """Read MNIST: 60,000 and 10,000 images of handwritten digits, 28 x 28.

    Args:
        root: the folder that holds the four files, plain or gzipped, or MNIST/raw/ or mnist/.
        download: fetch what is missing from the usual mirror to root/MNIST/raw/.

    Raises:
        DataError: if a file is missing, damaged, or not the published one.
    """
    return _load(Path(root), MNIST, download=download)


def load_fashion_mnist(root: Path | str, *, download: bool = False) -> ImageData:
    """Read Fashion-MNIST: 60,000 and 10,000 images of clothes, 28 x 28.

    Args:
        root: the folder that holds the four files, or FashionMNIST/raw/ or fashion-mnist/.
            Digests are published for the gzipped files alone; plain ones are checked in form.
        download: fetch what is missing from the usual mirror to root/FashionMNIST/raw/.

    Raises:
        DataError: if a file is missing, damaged, or not the published one.
    """
    return _load(Path(root), FASHION_MNIST, download=download)


def load_images(root: Path | str, *, download: bool = False) -> ImageData:
    """Read Fashion-MNIST, or MNIST if the folder holds that.

    Args:
        root: a folder as load_fashion_mnist or load_mnist takes it.
        download: fetch Fashion-MNIST where neither is there.

    Raises:
        DataError: if it has neither, or a file is damaged.
    """
    root = Path(root)
    for published in (FASHION_MNIST, MNIST):
        try:
            folder = _folder(root, published)
        except DataError:
            continue
        labels = find_file(folder, FILES[1])
        assert labels is not None
        is_mnist = md5(read_file(labels)) == MNIST.digests[1]
        return _load(root, MNIST if is_mnist else FASHION_MNIST, download=False)
    return _load(root, FASHION_MNIST, download=download)


def load_digits() -> ImageData:
    """Read the digits scikit-learn embeds: 1,437 and 360 images, 8 x 8, levels 0 to 16.

    Every fifth image, from the first, is held out.

    Raises:
        DataError: if scikit-learn is not installed.

    Examples:
        >>> digits = load_digits()
        >>> tuple(digits.train.images.shape), len(digits.test)
        ((1437, 1, 8, 8), 360)
    """
    try:
        from sklearn import datasets  # noqa: PLC0415
    except ImportError as error:
        raise DataError(
            "the embedded digits need scikit-learn. Install it: pip install 'batchproof[demo]'."
        ) from error
    bunch = datasets.load_digits()
    images = torch.from_numpy(bunch.images).to(torch.uint8)[:, None]
    labels = torch.from_numpy(bunch.target).long()
    held_out = torch.arange(len(labels)) % 5 == 0
    return ImageData(
        "digits",
        train=Images(images[~held_out], labels[~held_out]),
        test=Images(images[held_out], labels[held_out]),
        levels=16,
    )


def normalise(
    mean: Number = 0.0, std: Number = 1.0, *, levels: int = 255
) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Return a transform for Batches: uint8 images to float32, on their own device.

    Args:
        mean: subtracted, after division by levels.
        std: then divided by.
        levels: the largest grey level.

    Returns:
        A function of a batch (images, ...) that gives ((images / levels - mean) / std, ...).

    Examples:
        >>> import torch
        >>> images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
        >>> normalise(0.5, 0.5)((images, "labels"))[0].flatten().tolist()
        [-1.0, 1.0]
    """
    scale, shift = 1 / (levels * std), mean / std

    def transform(batch: tuple[Any, ...]) -> tuple[Any, ...]:
        return (batch[0].float().mul_(scale).sub_(shift), *batch[1:])

    return transform


def _folder(root: Path, published: _Published) -> Path:
    mirror = f"{published.mirror} with --download (download=True)"
    return find_folder(root, published.folders, FILES, published.name, mirror)


def _load(root: Path, published: _Published, *, download: bool) -> ImageData:
    try:
        folder = _folder(root, published)
    except DataError:
        if not download:
            raise
        folder = root / published.folders[1]
        for name, digest in zip(FILES, published.digests, strict=True):
            if find_file(folder, name) is None:
                target = folder / f"{name}.gz"
                fetch(f"{published.mirror}{name}.gz", target, digest, unzipped=published.unzipped)
    parts = [
        _read(folder, name, digest, published)
        for name, digest in zip(FILES, published.digests, strict=True)
    ]
    return ImageData(
        published.name,
        train=_images(folder, FILES[0], parts[0], parts[1]),
        test=_images(folder, FILES[2], parts[2], parts[3]),
    )


def _read(folder: Path, name: str, digest: str, published: _Published) -> Tensor:
    path = find_file(folder, name)
    assert path is not None
    if not published.unzipped and path.suffix == ".gz":
        check_digest(path, read_raw(path), digest)
    content = read_file(path)
    values = read_idx(path, content)
    if published.unzipped:
        check_digest(path, content, digest)
    elif md5(content) in MNIST.digests:
        raise DataError(f"{path} is MNIST's, not {published.name}'s. Load it with load_mnist.")
    return values


def _images(folder: Path, name: str, images: Tensor, labels: Tensor) -> Images:
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise damaged(
            folder / name,
            f"has shape {tuple(images.shape)} and its labels {tuple(labels.shape)}; expected "
            "(samples, height, width) and (samples,)",
        )
    if not len(labels):
        raise damaged(folder / name, "has no images")
    check_labels(labels, 10, where=f"{folder / name}'s labels")
    return Images(images[:, None], labels.long())


def read_idx(path: Path, content: bytes | None = None) -> UInt8[Tensor, "..."]:
    """Read an IDX file of uint8 values, plain or gzipped.

    Args:
        path: the file.
        content: its bytes, un-gzipped, if they were read already.

    Raises:
        DataError: if it is truncated, larger than 1 GiB, or not an IDX file of uint8.
    """
    content = read_file(path, LARGEST_IDX) if content is None else content
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != 8:
        raise damaged(path, f"begins with {content[:4].hex() or 'nothing'}, not uint8 IDX")
    if content[3] > MOST_DIMENSIONS:
        raise damaged(path, f"has {content[3]} dimensions; expected at most {MOST_DIMENSIONS}")
    header = 4 + 4 * content[3]
    if len(content) < header:
        raise damaged(path, f"is truncated: {len(content)} bytes, its header alone has {header}")
    shape = struct.unpack(f">{content[3]}I", content[4:header])
    if math.prod(max(size, 1) for size in shape) >= 2**63:
        raise damaged(path, f"has shape {shape}, which no tensor can have")
    length = header + math.prod(shape)
    if len(content) != length:
        how = "is truncated" if len(content) < length else "is too long"
        raise damaged(path, f"{how}: {len(content)} bytes, expected {length} for shape {shape}")
    if not math.prod(shape):
        return torch.empty(shape, dtype=torch.uint8)
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=header).view(shape)
