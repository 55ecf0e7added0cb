"""The plugin: a fixture and a marker that fail with the report, and silence otherwise."""

import subprocess
import sys

import pytest
import torch

import check_cases as cases
from batchproof import CutDependenceError, MistakeFoundError
from batchproof.integrations.pytest import CutInvariance

pytest_plugins = ["pytester"]

BUILD = cases.Build(cases.MLP)
GOOD = cases.exact(cases.of_classes)
BAD = cases.averaged(cases.of_classes)


def test_the_fixture_returns_the_report_of_a_right_step(cut_invariance):
    assert cut_invariance(GOOD, cases.vectors(), build=BUILD).ok


def test_the_fixture_raises_the_report_of_a_wrong_step(cut_invariance):
    with pytest.raises(CutDependenceError, match="mean-of-micro-batch-means"):
        cut_invariance(BAD, cases.vectors(), build=BUILD)


def test_the_fixture_takes_a_probe(cut_invariance):
    case = cases.Case("", cases.TABULAR, BAD)
    with pytest.raises(CutDependenceError, match="mean-of-micro-batch-means"):
        cut_invariance(case.probe())


def test_the_fixture_checks_evaluations(cut_invariance):
    run = cases.evaluation(cases.of_classes, "means")
    with pytest.raises(CutDependenceError, match="The evaluation depends on the cut"):
        cut_invariance.evaluate(run, cases.vectors(), build=BUILD)


@pytest.mark.cut_invariance(GOOD, cases.vectors(), build=BUILD)
def test_the_marker_hands_its_report_to_the_test(cut_report):
    assert cut_report.ok
    assert cut_report.unit == "sample"


@pytest.mark.cut_invariance(GOOD, cases.vectors, build=BUILD)
def test_samples_may_be_a_function_that_runs_only_with_the_test(cut_report):
    assert cut_report.ok


def test_a_marker_that_names_nothing_is_refused_in_one_line(pytester):
    pytester.makepyfile(
        "import pytest\n@pytest.mark.cut_invariance()\ndef test_step():\n    pass\n"
    )
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*the marker cut_invariance of *::test_step names nothing*"])


def test_a_step_that_cannot_be_checked_fails_in_the_lines_of_the_test_alone(pytester):
    pytester.makepyfile(
        "import torch\n"
        "def build():\n"
        "    model = torch.nn.Linear(1, 1)\n"
        "    return model, torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "def test_step(cut_invariance):\n"
        "    cut_invariance(lambda *_: None, list(torch.ones(4, 1)), build=build)\n"
    )
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*ProbeError: run took 0 optimiser steps under cut 'whole'*"])
    result.stdout.no_fnmatch_line("*_lab.py*")


def test_without_a_marker_there_is_no_report(cut_report):
    assert cut_report is None


def test_a_marked_test_fails_with_the_report(pytester):
    pytester.makepyfile(
        """
        import pytest
        from test_plugin_inner import *
        """,
        test_plugin_inner="""
        import check_cases as cases
        import pytest

        BUILD = cases.Build(cases.MLP)
        BAD = cases.averaged(cases.of_classes)

        @pytest.mark.cut_invariance(BAD, cases.vectors(), build=BUILD)
        def test_step():
            raise SystemError("the body must not run")
        """,
    )
    result = pytester.runpytest_inprocess("test_plugin_inner.py", "--strict-markers")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*CutDependenceError*mean-of-micro-batch-means*"])
    # the report alone: no line of the library's own code
    result.stdout.no_fnmatch_line("*def raise_if_failed*")


def test_the_plugin_loads_no_torch_and_says_nothing_unless_used(pytester):
    pytester.makepyfile(
        "def test_nothing():\n    import sys\n    assert 'torch' not in sys.modules"
    )
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"],
        cwd=pytester.path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "batchproof" not in result.stdout


def test_one_object_serves_many_checks():
    checks = CutInvariance()
    assert checks(GOOD, cases.vectors(), build=BUILD).ok
    assert checks(GOOD, cases.vectors(), build=BUILD).ok


def test_the_fixture_watched_fails_with_the_report_of_its_block(watched):
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def train():
        with watched():
            for _ in range(2):
                for size in (3, 1):
                    output = model(torch.ones(size, 2))
                    (torch.nn.functional.mse_loss(output, torch.ones(size, 1)) / 2).backward()
                optimizer.step()
                optimizer.zero_grad()

    with pytest.raises(MistakeFoundError, match="mean-of-micro-batch-means"):
        train()


def test_the_fixture_watched_lets_a_right_block_pass(watched):
    with watched(steps=1) as seen:
        pass
    assert seen.report().ok
