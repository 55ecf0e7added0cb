"""Sequences of unequal length held end to end, and their two layouts: padded and packed.

    padded   one row per sequence, filled up on the right; a mask says what counts
    packed   sequences end to end in rows; segments name each element's sequence, -1 for none

A loss reduced with the mask of the one or the segments of the other is the same Mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.types import Number

from batchproof._errors import DataError, ShapeError


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Sequences end to end in rows, as reduce(losses, segments=...) takes them.

    Attributes:
        values: shape (rows, elements, *features); padded with the value asked for.
        segments: the sequence that each element belongs to, -1 for padding; (rows, elements).
        positions: the place of each element in its sequence, 0 for padding; (rows, elements).
        num_segments: the number of sequences.

    Examples:
        >>> rows = Ragged.of([torch.tensor([1, 2, 3]), torch.tensor([4, 5])]).pack(8)
        >>> rows.segments.tolist()
        [[0, 0, 0, 1, 1, -1, -1, -1]]
    """

    values: Tensor
    segments: Int[Tensor, "rows elements"]
    positions: Int[Tensor, "rows elements"]
    num_segments: int


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """Sequences of unequal length, end to end in one tensor.

    It is indexed like a tensor of sequences, by a number, a slice, numbers or a mask, and can be a
    column of Batches.

    Attributes:
        values: all elements, shape (elements, *features).
        offsets: where each sequence begins, and where the last ends; shape (sequences + 1,).

    Examples:
        >>> import torch
        >>> ragged = Ragged.of([torch.tensor([1, 2, 3]), torch.tensor([4])])
        >>> ragged.pad(-1).tolist(), ragged.mask().tolist()
        ([[1, 2, 3], [4, -1, -1]], [[True, True, True], [True, False, False]])
        >>> ragged.pack().segments.tolist()
        [[0, 0, 0, 1]]
    """

    values: Tensor
    offsets: Int[Tensor, " bounds"]

    @classmethod
    def of(cls, sequences: Sequence[Tensor]) -> "Ragged":
        """Join sequences, each of shape (length, *features), end to end.

        Raises:
            DataError: if there are none, or if they disagree in more than their length.
        """
        if not sequences:
            raise DataError(
                "no sequences were given; expected at least one tensor of shape (length, ...)."
            )
        for number, sequence in enumerate(sequences):
            if sequence.ndim == 0 or sequence.shape[1:] != sequences[0].shape[1:]:
                raise DataError(
                    f"sequence {number} has shape {tuple(sequence.shape)} and sequence 0 "
                    f"{tuple(sequences[0].shape)}; expected shapes (length, ...) that differ in "
                    "length alone."
                )
        lengths = torch.tensor([0, *(len(sequence) for sequence in sequences)])
        return cls(torch.cat(list(sequences)), lengths.cumsum(0).to(sequences[0].device))

    @property
    def lengths(self) -> Int[Tensor, " sequences"]:
        """The length of each sequence."""
        return self.offsets.diff()

    @property
    def device(self) -> torch.device:
        """The device of the elements."""
        return self.values.device

    @property
    def ndim(self) -> int:
        """The dimensions of the padded form."""
        return self.values.ndim + 1

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the padded form; reads the longest length on the host."""
        return (len(self), self._longest(), *self.values.shape[1:])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, which: int) -> Tensor: ...
    @overload
    def __getitem__(self, which: "slice | Tensor") -> "Ragged": ...
    def __getitem__(self, which: "int | slice | Tensor") -> "Tensor | Ragged":
        if isinstance(which, slice | Tensor):
            numbers = torch.arange(len(self), device=self.device)[which]
            return self.index_select(0, numbers)
        number = range(len(self))[which]
        return self.values[self.offsets[number] : self.offsets[number + 1]]

    def index_select(self, dim: int, index: Int[Tensor, " chosen"]) -> "Ragged":
        """Return the sequences of these numbers, in this order; dim is 0.

        Raises:
            ShapeError: if dim is not 0.
        """
        if dim != 0:
            raise ShapeError(f"dim is {dim}; a Ragged is indexed by sequence alone, dim 0.")
        lengths = self.lengths[index]
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        starts = (self.offsets[:-1][index] - offsets[:-1]).repeat_interleave(lengths)
        places = starts + torch.arange(len(starts), device=self.device)
        return Ragged(self.values[places], offsets)

    def to(self, device: torch.device | str) -> "Ragged":
        """Return the same sequences on another device."""
        return Ragged(self.values.to(device), self.offsets.to(device))

    def mask(self, length: int | None = None) -> Bool[Tensor, "sequences length"]:
        """Return the mask of the padded form, True at elements.

        Args:
            length: of the padded rows; the longest sequence's without it.
        """
        length = self._longest() if length is None else length
        return torch.arange(length, device=self.device) < self.lengths[:, None]

    def pad(self, value: Number = 0, *, length: int | None = None) -> Tensor:
        """Return one row per sequence, filled up on the right.

        Args:
            value: the padding value.
            length: of the rows; the longest sequence's without it.

        Returns:
            Shape (sequences, length, *features).

        Raises:
            ShapeError: if a sequence is longer than length.
        """
        longest = self._longest()
        if length is not None and length < longest:
            raise ShapeError(
                f"length is {length} but the longest sequence has {longest} elements; "
                "padding cuts nothing off. Shorten the sequences yourself."
            )
        mask = self.mask(longest if length is None else length)
        padded = self.values.new_full((*mask.shape, *self.values.shape[1:]), value)
        padded[mask] = self.values
        return padded

    def pack(self, length: int | None = None, *, value: Number = 0) -> Packed:
        """Return sequences end to end, in one row, or in rows of a given length.

        No sequence is split. A layout depends on lengths alone, so inputs and targets of equal
        lengths, packed alike, stay aligned.

        Args:
            length: of the rows; without it one row holds all.
            value: the padding value.

        Raises:
            ShapeError: if a sequence is longer than length.
        """
        lengths = self.lengths.tolist()
        width = len(self.values) if length is None else length
        if lengths and max(lengths) > width:
            raise ShapeError(
                f"length is {length} but the longest sequence has {max(lengths)} elements; "
                "packing splits nothing. Give rows at least that long."
            )
        starts, rows = _first_fit(lengths, width)
        sizes = self.lengths
        within = torch.arange(len(self.values), device=self.device)
        within = within - self.offsets[:-1].repeat_interleave(sizes)
        begins = torch.tensor(starts, dtype=torch.int64, device=self.device)
        places = begins.repeat_interleave(sizes) + within
        owners = torch.arange(len(self), device=self.device).repeat_interleave(sizes)
        values = self.values.new_full((rows * width, *self.values.shape[1:]), value)
        segments = owners.new_full((rows * width,), -1)
        positions = owners.new_zeros(rows * width)
        values[places], segments[places], positions[places] = self.values, owners, within
        shape = (rows, width)
        return Packed(
            values.view(*shape, *values.shape[1:]),
            segments.view(shape),
            positions.view(shape),
            len(self),
        )

    def _longest(self) -> int:
        return int(self.lengths.max()) if len(self) else 0


def _first_fit(lengths: list[int], width: int) -> tuple[list[int], int]:
    """Place each length in the first row with room; return their starts and the number of rows."""
    lengths_of_rows: list[int] = []
    starts = []
    for size in lengths:
        row = next(
            (r for r, length in enumerate(lengths_of_rows) if length + size <= width),
            len(lengths_of_rows),
        )
        if row == len(lengths_of_rows):
            lengths_of_rows.append(0)
        starts.append(row * width + lengths_of_rows[row])
        lengths_of_rows[row] += size
    return starts, max(len(lengths_of_rows), 1)


def pad(
    sequences: Sequence[Tensor], value: Number = 0
) -> tuple[Tensor, Bool[Tensor, "sequences length"]]:
    """Pad sequences of unequal length on the right, as a collate function does.

    Args:
        sequences: each of shape (length, *features).
        value: the padding value.

    Returns:
        The padded sequences, (sequences, longest, *features), and the mask of their elements.

    Examples:
        >>> import torch
        >>> padded, mask = pad([torch.tensor([1.0, 2.0]), torch.tensor([3.0])], -1)
        >>> padded.tolist(), mask.tolist()
        ([[1.0, 2.0], [3.0, -1.0]], [[True, True], [True, False]])
    """
    ragged = Ragged.of(sequences)
    return ragged.pad(value), ragged.mask()
