"""Every exception that batchproof raises, as one tree.

    BatchproofError
    ├── ShapeError           ValueError         tensors whose shapes disagree
    ├── UnitError            ValueError         means of different units, or an unknown unit
    ├── EmptyMeanError       ZeroDivisionError  the mean of nothing
    ├── CriterionError       ValueError         a loss whose mean does not split by samples
    ├── MissingCountError    ValueError         weights that must be known before backward
    ├── NonFiniteError       ArithmeticError    a loss or a gradient that is NaN or infinite
    ├── SettingError         ValueError         an invalid option
    │   └── PairError        TypeError          arithmetic that pairs do not support
    ├── DataError            ValueError         data missing, damaged or out of range
    ├── SampleTooLargeError  MemoryError        a sample that alone does not fit in memory
    ├── CheckpointError      ValueError         a checkpoint damaged, or of another run
    ├── RunFolderError       OSError            a run folder that exists, or cannot be written
    │   └── RunStoppedError                     a run folder that is full, or gone, while training
    ├── RunInterruptedError  KeyboardInterrupt  a run that a signal ended
    ├── RankError            RuntimeError       ranks that disagree, or one that died
    ├── ProbeError           ValueError         a probe that cannot be run
    ├── CutDependenceError   AssertionError     a step that depends on the cut
    └── MistakeFoundError    AssertionError     a watched run that makes a mistake

Each is also the builtin it resembles, so either can be caught. Every message is one line: what was
given, what was expected, and what to do.
"""

from types import BuiltinFunctionType, FunctionType


def shown(value: object) -> str:
    """Return a value as an error shows it: in one line; a class or function by its name.

    Examples:
        >>> shown("mse"), shown(int), shown(shown), shown(object())
        ("'mse'", 'the class int', 'the function shown', 'object')
    """
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        kind = "class" if isinstance(value, type) else "function"
        return f"the {kind} {value.__name__}"
    text = repr(value)
    if "\n" in text or text.startswith("<"):
        return type(value).__name__
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def kind_of(value: object) -> str:
    """Return the type of a value with its article, as an error names it.

    Examples:
        >>> kind_of([]), kind_of(3)
        ('a list', 'an int')
    """
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


# characters of a value in an error
_LONGEST = 60


class BatchproofError(Exception):
    """An error raised by batchproof."""


class ShapeError(BatchproofError, ValueError):
    """Shapes disagree; nothing is broadcast silently."""


class UnitError(BatchproofError, ValueError):
    """Means of different units meet, or the unit is not one of the three."""


class EmptyMeanError(BatchproofError, ZeroDivisionError):
    """The mean of zero weight was requested as a number."""


class CriterionError(BatchproofError, ValueError):
    """The criterion's mean is not a ratio of sums over samples."""


class MissingCountError(BatchproofError, ValueError):
    """Several terms over several micro-batches need their weights before the backward pass."""


class NonFiniteError(BatchproofError, ArithmeticError):
    """A loss or a gradient is NaN or infinite."""


class SettingError(BatchproofError, ValueError):
    """An option or argument has an invalid value."""


class PairError(SettingError, TypeError):
    """A pair was added to something else, multiplied, divided or back-propagated by itself."""


class DataError(BatchproofError, ValueError):
    """A data set is missing, damaged, empty or out of range."""


class SampleTooLargeError(BatchproofError, MemoryError):
    """One sample alone does not fit in memory, so no cut of a window does."""


class CheckpointError(BatchproofError, ValueError):
    """A checkpoint is damaged, or belongs to another model, data set or settings."""


class RunFolderError(BatchproofError, OSError):
    """A run folder exists already, is missing, or cannot be written."""


class RunStoppedError(RunFolderError):
    """A run folder can no longer be written to; every earlier save is complete."""


class RunInterruptedError(BatchproofError, KeyboardInterrupt):
    """A signal ended a run between two steps; the state to resume from was saved.

    Attributes:
        signal: the signal's number; a shell's exit status for it is 128 more.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


class RankError(BatchproofError, RuntimeError):
    """Ranks train different things, or one of them failed."""


class ProbeError(BatchproofError, ValueError):
    """A probe cannot be run as the check needs it."""


class CutDependenceError(BatchproofError, AssertionError):
    """A step or an evaluation depends on how its samples are cut; the text is the report."""


class MistakeFoundError(BatchproofError, AssertionError):
    """A watched run makes a mistake; the text is the report."""
