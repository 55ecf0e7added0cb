"""Every script of the table is run as it is, and what is found is what its header says.

All run in one process, which nothing of the tests slows down.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import environment

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.py"))
RUNNER = Path(__file__).parents[1] / "support" / "watched_scripts.py"


def header(script):
    """The mistakes that the first line promises; none for a right script."""
    first = script.read_text().partition("\n")[0]
    if first == "# right":
        return []
    kind, _, names = first.partition(": ")
    assert kind == "# expects", first
    return sorted(names.split(", "))


@pytest.fixture(scope="module")
def found():
    done = subprocess.run(
        [sys.executable, RUNNER, *SCRIPTS],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_is_found_to_make_the_mistakes_that_it_makes(script, found):
    seen = found[str(script)]
    assert seen["names"] == header(script), seen["report"]
    assert seen["status"] == int(bool(seen["names"])), seen["report"]
