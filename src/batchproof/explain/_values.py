"""Checks of a topic's values, which refuse an invalid one in one line."""

import math
from collections.abc import Callable, Sequence, Sized
from typing import TypeVar

from batchproof._errors import SettingError

Item = TypeVar("Item")
LARGEST = 1e30  # beyond it, products on the way overflow


def finite(name: str, values: Sequence[float], least: int = 1) -> tuple[float, ...]:
    """Return the values as floats.

    Raises:
        SettingError: if there are fewer than `least`, or one is NaN, infinite or too large.
    """
    if len(values) < least:
        raise SettingError(
            f"{name} has {len(values)} values; expected at least {least}. "
            f"Give them separated by commas."
        )
    for value in values:
        if not math.isfinite(value):
            raise SettingError(f"{name} contains {value}; expected finite numbers. Leave it out.")
        if abs(value) > LARGEST:
            raise SettingError(
                f"{name} contains {value}; expected sizes up to {LARGEST:g}. Scale it."
            )
    return tuple(float(value) for value in values)


def counts(name: str, values: Sequence[int], least: int = 1) -> tuple[int, ...]:
    """Return the values, which are whole numbers.

    Raises:
        SettingError: if there is none, or one is below `least`.
    """
    if not values:
        raise SettingError(f"{name} is empty; expected whole numbers from {least}. Give some.")
    for value in values:
        if value < least or value != int(value):
            raise SettingError(
                f"{name} contains {value}; expected whole numbers from {least}. Correct it."
            )
    return tuple(int(value) for value in values)


def count(name: str, value: int, least: int = 1, most: int = 1_000_000) -> int:
    """Return the value, which is a whole number.

    Raises:
        SettingError: if it is below `least` or above `most`.
    """
    if not least <= value <= most or value != int(value):
        raise SettingError(
            f"{name} is {value}; expected a whole number from {least} to {most}. Choose one."
        )
    return int(value)


def positive(name: str, value: float) -> float:
    """Return a number above zero.

    Raises:
        SettingError: if it is not, or too large.
    """
    if not (math.isfinite(value) and value > 0):
        raise SettingError(f"{name} is {value}; expected a number above 0. Choose one.")
    finite(name, (value,))
    return float(value)


def share(name: str, value: float) -> float:
    """Return a number from 0 to below 1.

    Raises:
        SettingError: if it is not.
    """
    if not 0 <= value < 1:
        raise SettingError(f"{name} is {value}; expected a number from 0 to below 1. Choose one.")
    return float(value)


def same_length(**sequences: Sized) -> None:
    """Refuse sequences of different lengths.

    Raises:
        SettingError: if they differ.
    """
    if len({len(values) for values in sequences.values()}) > 1:
        lengths = " and ".join(f"{name} has {len(values)}" for name, values in sequences.items())
        raise SettingError(f"{lengths} values; expected as many of each. Give one for one.")


def cut(values: Sequence[float], size: int) -> list[tuple[float, ...]]:
    """Return the values in batches of a size; the last one may be shorter."""
    return [tuple(values[start : start + size]) for start in range(0, len(values), size)]


def few(rows: Sequence[Item], row_for_rest: Callable[[int], Item], most: int = 12) -> list[Item]:
    """Return at most this number of rows: the first ones, one for those left out, and the last."""
    if len(rows) <= most:
        return list(rows)
    return [*rows[: most - 2], row_for_rest(len(rows) - most + 1), rows[-1]]


def mean(values: Sequence[float]) -> float:
    """Return the plain mean, summed without rounding on the way."""
    return math.fsum(values) / len(values)
