"""Shared by all tests: shapes checked at run time, real data by folder, skips with a reason."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

# one thread for each of several test processes; the processes that tests start inherit it
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import config

from checked_shapes import check_shapes

check_shapes()

# a shell's background job ignores SIGINT, which tests send
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "house", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Shape annotations unchecked, as users run it: for tests of the library's own errors."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def _data_root() -> Path | None:
    here = Path(__file__).resolve().parent.parent
    given = os.environ.get("BATCHPROOF_DATA")
    for root in [Path(given)] if given else [here / "../shared/data", Path("../shared/data")]:
        if root.is_dir():
            return root.resolve()
    return None


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data sets; tests that need it skip where it is absent."""
    root = _data_root()
    if root is None:
        pytest.skip("no real data: set BATCHPROOF_DATA to the folder that holds mnist/, names/ ...")
    return root


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist writes the groups behind the tests' names
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import torch

    no_device = pytest.mark.skip(reason="no CUDA device")
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(no_device)
        # many ranks at once would wait for each other's processes; those of one file mostly sleep
        if item.get_closest_marker("ranks"):
            group = "ranks that fail" if item.path.stem == "test_rank_failures" else "ranks"
            item.add_marker(pytest.mark.xdist_group(group))
