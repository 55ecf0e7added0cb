"""The pytest plugin: a fixture and a marker that hold a training step to every cut.

    def test_our_step(cut_invariance):
        cut_invariance(run, samples, build=build, collate=collate)

    @pytest.mark.cut_invariance(run, samples, build=build)
    def test_our_step(): ...

The fixture takes the arguments of `check_step` (or a Probe), raises the report as an assertion
where the step depends on the cut, and returns the report where it does not;
`cut_invariance.evaluate` does the same with `check_evaluate`. The marker checks before the body of
the test runs, and hands the report to a test that asks for `cut_report`. Nothing is imported and
nothing is said unless one of them is used.
"""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from batchproof.check import Report

_MARKER = "cut_invariance"
_KEY: "pytest.StashKey[Any]" = pytest.StashKey()


class CutInvariance:
    """Checks a step or an evaluation, and raises its report if it depends on the cut."""

    def __call__(self, run: Any, samples: Any = None, **settings: Any) -> "Report":
        """Check one training step.

        Args:
            run: as for batchproof.check_step, or a batchproof.check.Probe and nothing else.
            samples: as for batchproof.check_step.
            **settings: as for batchproof.check_step.

        Returns:
            The report.
        """
        from batchproof.check import Probe, check_step  # noqa: PLC0415

        if isinstance(run, Probe):
            report = run.check(**settings)
        else:
            report = check_step(run, samples, **settings)
        report.raise_if_failed()
        return report

    def evaluate(self, run: Any, samples: Any, **settings: Any) -> "Report":
        """Check one evaluation.

        Args:
            run: as for batchproof.check_evaluate.
            samples: as for batchproof.check_evaluate.
            **settings: as for batchproof.check_evaluate.

        Returns:
            The report.
        """
        from batchproof.check import check_evaluate  # noqa: PLC0415

        report = check_evaluate(run, samples, **settings)
        report.raise_if_failed()
        return report


@pytest.fixture
def cut_invariance() -> CutInvariance:
    """Check that a training step is the same however its samples are cut."""
    return CutInvariance()


@pytest.fixture
def cut_report(request: pytest.FixtureRequest) -> Any:
    """The report of the cut_invariance marker of this test."""
    return request.node.stash.get(_KEY, None)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(run, samples, *, build, ...): fails unless this training step is the same "
        "under every cut of its samples; arguments as for batchproof.check_step",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check what the marker names, before the test runs."""
    marker = item.get_closest_marker(_MARKER)
    if marker is not None:
        item.stash[_KEY] = CutInvariance()(*marker.args, **marker.kwargs)
