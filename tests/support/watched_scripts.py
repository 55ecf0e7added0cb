"""A process that runs scripts under watch, one after the other, and prints what was found.

python watched_scripts.py SCRIPT...   prints {script: {"status", "names", "places", "report"}}
"""

import contextlib
import functools
import io
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

from batchproof.watch import Program, run_watched

SCRIPTS = sorted((Path(__file__).parents[1] / "watch" / "scripts").glob("*.py"))


@functools.cache
def watched():
    """Return what is found in each script of the table; all run once, in one process."""
    done = subprocess.run(
        [sys.executable, __file__, *SCRIPTS],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=840,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def found_in(script):
    """Run one script, and return what was found; what it changes of this process is set back."""
    argv, path, main = list(sys.argv), list(sys.path), sys.modules["__main__"]
    reports = []
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            status = run_watched(Program(script), reports.append)
    finally:
        sys.argv[:], sys.path[:], sys.modules["__main__"] = argv, path, main
    (report,) = reports
    places = sorted((finding.name, finding.place) for finding in report.findings)
    return {
        "status": status,
        "names": sorted(report.names),
        "places": places,
        "report": str(report),
    }


if __name__ == "__main__":
    print(json.dumps({script: found_in(script) for script in sys.argv[1:]}))
