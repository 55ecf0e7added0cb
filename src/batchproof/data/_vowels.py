"""Japanese Vowels: sequences of unequal length, each spoken by one of nine people.

A `.ts` file has header lines that begin with # or @, then one sequence per line: channels are
divided by colons, values by commas, and the last field is the class.

References:
    Kudo, Toyama, Shimbo (1999): Multidimensional curve classification using passing-through
    regions, Pattern Recognition Letters 20; UCI 128.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from batchproof._errors import DataError
from batchproof.data._checks import check_finite, check_labels
from batchproof.data._files import damaged, find_file, find_folder, read_text
from batchproof.data._ragged import Ragged

TRAIN, TEST = "JapaneseVowels_TRAIN.ts", "JapaneseVowels_TEST.ts"
DIGESTS = {
    TRAIN: "9165e3eec783ac6342d658685c864d19",
    TEST: "14d15214e3ab6ac39ab2d48901d3e2a3",
}
PUBLISHED = "https://www.timeseriesclassification.com/description.php?Dataset=JapaneseVowels"
FOLDER = "japanese-vowels"
SPEAKERS = 9


@dataclass(frozen=True, slots=True, eq=False)
class Sequences:
    """Sequences of unequal length and a kind for each.

    Attributes:
        inputs: elements of shape (elements, channels), float32, a sequence each.
        kinds: the kind of each sequence, from 0; shape (sequences,), int64.
        targets: the regression target at each element, shape (elements, 1), float32, of
            the same lengths as inputs.
    """

    inputs: Ragged
    kinds: Int[Tensor, " sequences"]
    targets: Ragged

    def __len__(self) -> int:
        return len(self.kinds)


@dataclass(frozen=True, slots=True, eq=False)
class SequenceData:
    """A data set of sequences: those to train on, and those held out.

    Attributes:
        name: the data set's.
        train: sequences to train on.
        test: sequences held out.
        kinds: the number of kinds.
    """

    name: str
    train: Sequences
    test: Sequences
    kinds: int


def load_japanese_vowels(root: Path | str) -> SequenceData:
    """Read Japanese Vowels: 270 and 370 sequences of 7 to 29 elements, 12 channels, 9 speakers.

    The regression is next-step prediction of the first channel: inputs are a sequence without its
    last element, and the target at an element is the first channel one step later.

    Args:
        root: the folder that holds the two .ts files, or that holds japanese-vowels/.

    Raises:
        DataError: if a file is missing, damaged, or not the published one.
    """
    root = Path(root)
    folder = find_folder(root, ("", FOLDER), (TRAIN, TEST), "Japanese Vowels", PUBLISHED)
    train, test = (_read(folder, name) for name in (TRAIN, TEST))
    return SequenceData("Japanese Vowels", train, test, kinds=SPEAKERS)


def generate_sequences(
    train: int = 256, test: int = 128, *, kinds: int = 2, channels: int = 3, seed: int = 0
) -> SequenceData:
    """Make sequences of 4 to 24 elements: noisy oscillations whose frequency is their kind's.

    They replace Japanese Vowels where its files are not available, with its tasks and shapes.

    Args:
        train: sequences to train on.
        test: sequences held out.
        kinds: the number of frequencies.
        channels: the number of phases in which the oscillation is observed.
        seed: the same gives the same sequences; global seeds are left alone.

    Returns:
        The sequences, their kinds drawn at random.

    Examples:
        >>> made = generate_sequences(4, 2)
        >>> len(made.train), len(made.test), made.kinds
        (4, 2, 2)
    """
    generator = torch.Generator().manual_seed(seed)

    def make(number: int) -> Sequences:
        lengths = torch.randint(4, 25, (number,), generator=generator)
        which = torch.randint(kinds, (number,), generator=generator)
        wave = [
            _wave(int(n), int(kind), channels, generator)
            for n, kind in zip(lengths, which, strict=True)
        ]
        return _next_step(wave, which)

    with torch.device("cpu"):
        return SequenceData("generated sequences", make(train), make(test), kinds)


def _wave(length: int, kind: int, channels: int, generator: torch.Generator) -> Tensor:
    steps = torch.arange(length + 1)[:, None] * (0.4 + 0.5 * kind)
    start = 6.28 * torch.rand(1, generator=generator)
    noise = 0.1 * torch.randn(length + 1, channels, generator=generator)
    return torch.sin(steps + start + torch.arange(channels)) + noise


def _next_step(sequences: list[Tensor], kinds: Tensor) -> Sequences:
    inputs = Ragged.of([sequence[:-1] for sequence in sequences])
    return Sequences(inputs, kinds, Ragged.of([sequence[1:, :1] for sequence in sequences]))


def _read(folder: Path, name: str) -> Sequences:
    path = find_file(folder, name)
    assert path is not None
    lines = read_text(folder, "", name, DIGESTS[name], PUBLISHED).splitlines()
    samples = [line for line in lines if line.strip() and line[0] not in "#@"]
    try:
        sequences_and_labels = [_parse(line) for line in samples]
        labels = torch.tensor([label for _, label in sequences_and_labels]) - 1
        sequences = Ragged.of([sequence for sequence, _ in sequences_and_labels])
    except (DataError, ValueError) as error:
        raise damaged(path, f"has a line that is not a sequence ({error})") from error
    check_labels(labels, SPEAKERS, where=f"{path}'s speakers")
    check_finite(sequences.pad(), where=str(path))
    return _next_step([sequences[i] for i in range(len(labels))], labels)


def _parse(line: str) -> tuple[Tensor, int]:
    *channels, label = line.split(":")
    values = torch.tensor([[float(value) for value in channel.split(",")] for channel in channels])
    return values.T.contiguous(), int(label)
