"""What the scripts here have in common: medians with their range, peak memory, and dated JSON."""

import datetime as dt
import json
import os
import platform
import resource
import statistics
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def summary(values):
    """Return the median of some measurements and the range they span."""
    return {
        "median": round(statistics.median(values), 4),
        "range": [round(min(values), 4), round(max(values), 4)],
    }


def heading(what, *, threads, packages=("torch",)):
    """Return what was measured, when, on what and with which versions."""
    return {
        "what": what,
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cpus": os.cpu_count(),
            "threads": threads,
        },
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
        },
    }


def keep(name, found, *, out=None):
    """Write what was found as results/NAME-DATE.json, or to out, and return the path."""
    out = out or RESULTS / f"{name}-{found['date'][:10]}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return out


def peak_mb():
    """Return the most memory that this process has held, or has since forget_peak()."""
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def held_mb():
    """Return the memory that this process holds now; where that is unknown, its peak."""
    return _status("VmRSS") or peak_mb()


def forget_peak():
    """Let the peak start anew from what is held now, where the system can (Linux)."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5", encoding="ascii")


def _status(field):
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    for line in status.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    return None


def _processor():
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
