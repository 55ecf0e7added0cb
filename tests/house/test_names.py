"""The public names are the contract; adding or losing one is a decision."""

import inspect
import subprocess
import sys
from pathlib import Path

import batchproof

NAMES = """
    BatchproofError CheckpointError CriterionError CutDependenceError DataError
    EmptyMeanError Estimate History Mean Meter MissingCountError MistakeFoundError NonFiniteError
    Outcome PairError ProbeError RankError Report RunFolderError RunInterruptedError RunStoppedError
    SettingError ShapeError Step StepResult Trainer Unit UnitError WatchReport accuracy
    check_evaluate check_heads check_step equivalent_settings evaluate exact linear_cross_entropy
    pool reduce supervised watch watch_loss windows
"""


def test_the_public_names_are_these() -> None:
    assert sorted(set(batchproof.__all__) - {"__version__"}) == sorted(NAMES.split())


def test_every_public_name_is_bound() -> None:
    assert set(batchproof.__all__) == {"__version__", *batchproof._HOME}


def test_every_public_name_is_there_and_documented() -> None:
    for name in set(NAMES.split()) - {"Unit"}:
        assert inspect.getdoc(getattr(batchproof, name)), name


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(batchproof, "no_such_name")
    assert "Mean" in dir(batchproof)


def test_a_package_is_there_without_an_import_of_its_own() -> None:
    code = "import batchproof as bp; [getattr(bp, name).__doc__.strip() for name in bp._PACKAGES]"
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=120)
    assert done.returncode == 0
    assert set(dir(batchproof)) >= batchproof._PACKAGES


def test_the_packages_are_those_of_the_house() -> None:
    found = {path.parent.name for path in Path(batchproof.__file__).parent.glob("*/__init__.py")}
    assert found - {"cli", "page", "shell"} == batchproof._PACKAGES


def test_every_error_is_also_the_builtin_it_resembles() -> None:
    for name in NAMES.split():
        value = getattr(batchproof, name)
        if inspect.isclass(value) and issubclass(value, Exception) and name != "BatchproofError":
            assert issubclass(value, batchproof.BatchproofError), name
            builtins = [base for base in value.__mro__ if base.__module__ == "builtins"]
            assert len(builtins) > 3, f"{name} resembles no builtin"
