"""The pytest plugin: a training step held to every cut, and any training watched.

    def test_our_step(cut_invariance):
        cut_invariance(run, samples, build=build, collate=collate)

    @pytest.mark.cut_invariance(run, samples, build=build)
    def test_our_step(): ...

The fixture takes the arguments of `check_step` (or a Probe), raises the report as an assertion
where the step depends on the cut, and returns the report where it does not;
`cut_invariance.evaluate` does the same with `check_evaluate`. The marker checks before the body of
the test runs, and hands the report to a test that asks for `cut_report`.

    def test_our_training(watched):
        with watched():
            train(epochs=1)

The fixture `watched` fails a test with the report of `batchproof watch` where its block shows a
mistake. Nothing is imported and nothing is shown unless one of them is used.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from batchproof.check import Report
    from batchproof.watch import Watch

_MARKER = "cut_invariance"
_KEY: "pytest.StashKey[Any]" = pytest.StashKey()


class CutInvariance:
    """Checks a step or an evaluation, and raises its report if it depends on the cut."""

    def __call__(self, run: Any, samples: Any = None, **settings: Any) -> "Report":
        """Check one training step.

        Args:
            run: as for batchproof.check_step, or a batchproof.check.Probe and nothing else.
            samples: as for batchproof.check_step, or a function that returns them.
            **settings: as for batchproof.check_step.

        Returns:
            The report.
        """
        __tracebackhide__ = True
        return _held("step", run, samples, settings)

    def evaluate(self, run: Any, samples: Any = None, **settings: Any) -> "Report":
        """Check one evaluation.

        Args:
            run: as for batchproof.check_evaluate, or a Probe and nothing else.
            samples: as for batchproof.check_evaluate, or a function that returns them.
            **settings: as for batchproof.check_evaluate.

        Returns:
            The report.
        """
        __tracebackhide__ = True
        return _held("evaluate", run, samples, settings)


def _held(kind: Literal["step", "evaluate"], run: Any, samples: Any, options: Any) -> "Report":
    """Return the report of a check, or raise it where something depends on the cut."""
    __tracebackhide__ = True
    from batchproof._errors import ProbeError  # noqa: PLC0415
    from batchproof.check import Probe  # noqa: PLC0415

    settings = dict(options)
    name = settings.pop("name", "")
    probe = run if isinstance(run, Probe) else Probe(run, samples, kind=kind, **settings)
    try:
        report = probe.check(name=name)
    except ProbeError as error:
        # the test and, where it failed, the user's own code are shown, not the check's
        raise error.with_traceback(None) from error.__cause__
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


class Watched:
    """Watches a block of a test, and raises its report where it shows a mistake."""

    @contextmanager
    def __call__(self, *, steps: int | None = None) -> "Iterator[Watch]":
        """Watch what trains or evaluates inside the block.

        Args:
            steps: stop after so many optimiser steps; None to watch to the end.

        Yields:
            The run, whose `report()` says what was seen so far.
        """
        __tracebackhide__ = True
        from batchproof.watch import watch  # noqa: PLC0415

        with watch(steps=steps) as recording:
            yield recording
        recording.report(name="this test").raise_if_failed()


@pytest.fixture
def watched() -> Watched:
    """Watch a block that trains or evaluates, and fail where it shows a mistake."""
    return Watched()


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
        if not marker.args:
            raise pytest.UsageError(
                f"the marker {_MARKER} of {item.nodeid} names nothing to check; expected run, "
                "samples and build, or a Probe."
            )
        item.stash[_KEY] = CutInvariance()(*marker.args, **marker.kwargs)
