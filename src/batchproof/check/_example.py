"""A probe file to start from: example.py of this folder.

Its text is copied, so that writing it loads no torch.
"""

from pathlib import Path

from batchproof._errors import ProbeError
from batchproof._files import write_file


def write_example(path: str | Path = "probe.py") -> Path:
    """Write a probe file to start from.

    Args:
        path: the file to write.

    Returns:
        The file.

    Raises:
        ProbeError: if it exists, cannot be written, or would not be a Python file.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_example(Path(folder) / "probe.py").name
        'probe.py'
    """
    target = Path(path)
    text = Path(__file__).with_name("example.py").read_text(encoding="utf-8")
    if target.suffix != ".py":
        raise ProbeError(f"{str(path)!r} is not the name of a Python file; expected FILE.py.")
    if target.exists():
        raise ProbeError(
            f"{target} exists; choose another name for the example: "
            "batchproof check --example FILE.py"
        )
    try:
        return write_file(target, text.replace("{file}", str(target)))
    except OSError as error:
        raise ProbeError(f"{target} cannot be written: {error.strerror}.") from None
