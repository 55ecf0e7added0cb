"""The environment of a run: versions, machine, command line, revision."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

_PACKAGES = ("batchproof", "torch", "numpy", "safetensors")


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Return versions, machine, command line and git revision, as plain values.

    Args:
        device: that the run uses.
    """
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "folder": os.getcwd(),  # noqa: PTH109
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "device": _name(device),
        "threads": torch.get_num_threads(),
        "git": git_revision(),
    }


def git_revision() -> dict[str, Any] | None:
    """Return the revision of the folder's repository and whether files differ; None without one."""
    revision = _git("rev-parse", "HEAD")
    if not revision:
        return None
    return {"revision": revision, "changed": bool(_git("status", "--porcelain", "-uno"))}


def _git(*arguments: str) -> str:
    try:
        process = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return process.stdout.strip() if process.returncode == 0 else ""


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({platform.processor() or platform.machine()})"
