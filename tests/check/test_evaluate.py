"""Evaluations: a number that depends on the batch size is found out, and why it does."""

import pytest

import check_cases as cases


@pytest.mark.parametrize("case", cases.EVALUATIONS, ids=lambda case: case.title)
def test_an_evaluation_is_judged_rightly(case):
    report = case.probe().check()
    assert set(report.names) == set(case.mistakes), str(report)
    if case.unit is not None:
        assert report.unit == case.unit


def test_every_batch_size_is_tried():
    report = cases.EVALUATIONS[0].probe().check()
    assert {f"batches-of-{size}" for size in range(2, 7)} <= {cut.name for cut in report.cuts}
