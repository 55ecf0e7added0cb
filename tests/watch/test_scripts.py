"""Every script of the table is run as it is, and what is found is what its header says.

All run in one process, which nothing of the tests slows down.
"""

import pytest

from watched_scripts import SCRIPTS, watched

# once for these and for audit's tests, whichever is the first
pytestmark = [pytest.mark.xdist_group("watched scripts"), pytest.mark.timeout(900)]


def header(script):
    """The mistakes that the first line promises; none for a right script."""
    first = script.read_text().partition("\n")[0]
    if first == "# right":
        return []
    kind, _, names = first.partition(": ")
    assert kind == "# expects", first
    return sorted(names.split(", "))


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_is_found_to_make_the_mistakes_that_it_makes(script):
    seen = watched()[str(script)]
    assert seen["names"] == header(script), seen["report"]
    assert seen["status"] == int(bool(seen["names"])), seen["report"]
