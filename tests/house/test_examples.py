"""The examples in docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

import batchproof

SKIPPED = ("batchproof.integrations.", "batchproof.__main__")
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(batchproof.__path__, "batchproof.")
    if not module.name.startswith(SKIPPED)
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str, tmp_path, monkeypatch) -> None:
    module = importlib.import_module(name)
    monkeypatch.chdir(tmp_path)
    failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert failed == 0
