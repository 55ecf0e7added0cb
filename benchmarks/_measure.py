"""What the scripts here have in common: medians with their range, peak memory, and dated JSON."""

import argparse
import datetime as dt
import json
import os
import platform
import resource
import statistics
import sys
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def parser(doc):
    """Return a parser of the command line whose --help is the script's docstring."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def summary(values):
    """Return the median of some measurements, their quartiles and the range they span."""
    low, middle, high = quartiles(values)
    return {
        "median": round(middle, 4),
        "quartiles": [round(low, 4), round(high, 4)],
        "range": [round(min(values), 4), round(max(values), 4)],
    }


def quartiles(values):
    """Return the lower quartile, the median and the upper quartile."""
    if len(values) == 1:
        return list(values) * 3
    return statistics.quantiles(values, n=4, method="inclusive")


def heading(what, *, threads, packages=("torch",)):
    """Return what was measured, when, on what and with which versions."""
    return {
        "what": what,
        "command": _command(),
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
    """Let the peak start again from what is held now, where the system can (Linux)."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5", encoding="ascii")


def _command():
    # paths are this machine's own
    words = [("PATH" if "/" in word else word) for word in sys.argv[1:]]
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words])


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
