"""Every planted mistake is found and named; no right step is accused."""

import pytest

import check_cases as cases
from batchproof import CutDependenceError


@pytest.mark.parametrize("case", cases.RIGHT, ids=lambda case: case.title)
def test_a_right_step_is_not_accused(case):
    report = case.probe().check()
    assert report.ok, str(report)
    assert not any(cut.dependent for cut in report.cuts)
    if case.unit is not None:
        assert report.unit == case.unit


@pytest.mark.parametrize("case", cases.WRONG, ids=lambda case: case.title)
def test_a_mistake_is_found_and_named(case):
    report = case.probe().check()
    assert set(report.names) == set(case.mistakes), str(report)
    if case.unit is not None:
        assert report.unit == case.unit
    with pytest.raises(CutDependenceError, match=case.mistakes[0]):
        report.raise_if_failed()
