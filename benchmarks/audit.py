"""Time and memory of `batchproof audit`, and of torchfix on the same tree.

    python benchmarks/audit.py [--lines N] [--torchfix FILE] [--quick] [--out FILE]

The tree is made of copies of the installed Python packages, each in a folder of its own, until it
has a million lines; it is not kept. FILE is the command `torchfix` of an environment that has it.
Goals: an empty folder in at most 0.25 s from the shell; the tree in at most 20 s on two cores, a
second time, over the cache, in at most 3 s; at most 300 MiB in all processes together.
Takes about 5 minutes, more with torchfix.
"""

import os
import resource
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from _measure import heading, keep, parser, summary

AUDIT = [sys.executable, "-m", "batchproof", "audit", "--exit-zero", "--statistics"]
GOALS = {"empty": {"s": 0.25}, "first": {"s": 20, "mib": 300}, "second": {"s": 3}}


def make_tree(folder, lines):
    """Fill a folder with copies of installed packages, and return how many files and lines."""
    packages = Path(sysconfig.get_paths()["purelib"])
    files, written = 0, 0
    for copy in range(10_000):
        for source in sorted(packages.rglob("*.py")):
            if written >= lines:
                return {"files": files, "lines": written}
            content = source.read_bytes()
            place = folder / f"copy{copy}" / source.relative_to(packages)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            files, written = files + 1, written + content.count(b"\n")
    return {"files": files, "lines": written}


def measured(command, folder):
    """Return what a command takes, it and its children together, and its last line.

    s       from start to end, which other work on the machine lengthens
    cpu_s   of processors, which it does not
    mib     the most memory at a time
    """
    start, peak, before = time.perf_counter(), 0.0, _cpu()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            peak = max(peak, _held_mib(process.pid))
            time.sleep(0.02)
        took = time.perf_counter() - start
        out.seek(0)
        said = out.read().strip().splitlines()
    if process.returncode not in {0, 1}:
        sys.exit(f"{command} ended with {process.returncode}")
    return {"s": took, "cpu_s": _cpu() - before, "mib": peak}, said[-1] if said else ""


def _cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _held_mib(pid):
    """Return the memory of a process and its children; what forks share counts once."""
    total = 0
    for process in (pid, *_children(pid)):
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def _children(pid):
    try:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        names = " ".join((task / "children").read_text() for task in tasks)
    except OSError:
        return []
    return [int(name) for name in names.split()]


def of_empty(rounds):
    """Return what an audit of an empty folder takes, from the shell."""
    with tempfile.TemporaryDirectory() as folder:
        taken = [measured(AUDIT, folder)[0] for _ in range(rounds + 1)]
    return summarised(taken[1:])


def summarised(taken):
    """Return the summary of each of the things that runs take."""
    return {key: summary([one[key] for one in taken]) for key in taken[0]}


def of_tree(folder, rounds):
    """Return what first and second audits of a tree take."""
    cache = folder / "cache"
    os.environ["XDG_CACHE_HOME"] = str(cache)
    first, second, said = [], [], ""
    for _ in range(rounds):
        shutil.rmtree(cache, ignore_errors=True)
        for taken in (first, second):
            took, said = measured([*AUDIT, "tree"], folder)
            taken.append(took)
    return {"first": summarised(first), "second": summarised(second), "said": said}


def main():
    line = parser(__doc__)
    line.add_argument("--lines", type=int, default=1_000_000, help="how large the tree is")
    line.add_argument("--rounds", type=int, default=3, help="how often the tree is audited")
    line.add_argument("--torchfix", help="the command torchfix of an environment that has it")
    line.add_argument("--quick", action="store_true", help="a small tree, once; nothing is kept")
    line.add_argument("--out", type=Path, help="where to write what was found")
    arguments = line.parse_args()
    rounds, lines = (1, 20_000) if arguments.quick else (arguments.rounds, arguments.lines)
    found = heading("batchproof audit", threads=os.cpu_count(), packages=("typer", "rich"))
    found |= {
        "goals": GOALS,
        "load": os.getloadavg(),
        "empty": of_empty(2 if arguments.quick else 9),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found["tree"] = make_tree(folder / "tree", lines)
        found |= of_tree(folder, rounds)
        if arguments.torchfix:
            command = [arguments.torchfix, "--select", "ALL", "tree"]
            took, said = measured(command, folder)
            found["torchfix"] = {**summarised([took]), "said": said}
    print({key: found[key] for key in ("load", "empty", "first", "second")})
    if not arguments.quick or arguments.out:
        print(f"wrote {keep('audit', found, out=arguments.out)}")


if __name__ == "__main__":
    main()
