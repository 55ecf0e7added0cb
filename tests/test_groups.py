"""Tests of one group are run by one process, as those of ranks need it."""

import pytest


@pytest.mark.ranks
def test_a_group_is_known_to_what_hands_out_the_tests(request):
    if not request.config.getoption("loadgroup", default=False):
        pytest.skip("no processes share these tests by group")
    # pytest-xdist writes the group behind the test's name; under some releases of pytest it cannot
    assert request.node.nodeid.endswith("@ranks"), "see requirements/constraints.txt"
