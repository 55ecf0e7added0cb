"""The public names are the contract; adding or losing one is a decision."""

import inspect
import subprocess
import sys
from pathlib import Path

import jaxtyping
import pytest

import batchproof

NAMES = """
    BatchproofError CheckpointError CriterionError CutDependenceError DataError
    EmptyMeanError Estimate History Mean Meter MissingCountError MistakeFoundError NonFiniteError
    Outcome PairError ProbeError RankError Report RunFolderError RunInterruptedError RunStoppedError
    SampleTooLargeError SettingError ShapeError Step StepResult Trainer Unit UnitError WatchReport
    accuracy check_evaluate check_heads check_step equivalent_settings evaluate exact
    linear_cross_entropy pool reduce supervised watch watch_loss windows
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


def test_the_names_that_are_shown_are_public() -> None:
    shown = {name for name in dir(batchproof) if not name.startswith("__")}
    assert shown == {*NAMES.split(), *batchproof._PACKAGES}


@pytest.mark.parametrize(
    ("name", "home"), [("Callback", "train"), ("Batches", "data"), ("Probe", "check")]
)
def test_a_name_of_a_package_says_where_it_is(name: str, home: str) -> None:
    with pytest.raises(AttributeError, match=f"it is batchproof.{home}.{name}"):
        getattr(batchproof, name)


def test_a_type_checker_finds_typos(tmp_path: Path) -> None:
    # the names are batchproof's own; reading torch as well would take five times as long
    settings = (
        "[mypy]\nfollow_imports = skip\n[mypy-batchproof,batchproof.*]\nfollow_imports = silent\n"
    )
    (tmp_path / "mypy.ini").write_text(settings)
    typos = ("bp.Meterr()", "bp.check_setp()", "bp.train.Trainr()", "bp.check.Prob()")
    right = ("bp.Meter()", "bp.data.plan", "bp.train.Trainer", "bp.check.Probe")
    file = tmp_path / "typos.py"
    file.write_text("\n".join(("import batchproof as bp", *typos, *right)) + "\n")
    command = [sys.executable, "-m", "mypy", "--no-incremental", str(file)]
    done = subprocess.run(
        command, cwd=tmp_path, check=False, timeout=500, capture_output=True, text=True
    )
    assert done.stdout.count("error: Module has no attribute") == len(typos), done.stdout
    assert f"Found {len(typos)} errors" in done.stdout


@pytest.mark.parametrize(
    "call",
    [
        lambda: batchproof.reduce("no tensor"),
        lambda: batchproof.accuracy("no", "tensor"),
        lambda: batchproof.Meter().add(batchproof.Mean.zero(), by="no tensor"),
        lambda: batchproof.data.check_labels("no tensor", 3),
    ],
)
def test_shapes_are_checked_wherever_they_are_annotated(call) -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        call()


def test_a_package_is_there_without_an_import_of_its_own() -> None:
    code = "import batchproof as bp; [getattr(bp, name).__doc__.strip() for name in bp._PACKAGES]"
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=120)
    assert done.returncode == 0
    assert set(dir(batchproof)) >= batchproof._PACKAGES


@pytest.mark.parametrize(
    ("package", "names"),
    [
        ("check", "check_evaluate, batchproof.check_heads, batchproof.check_step"),
        ("step", "Step, batchproof.StepResult, batchproof.windows"),
        ("meter", "Estimate, batchproof.Meter"),
    ],
)
def test_a_package_that_is_called_says_what_to_call(package: str, names: str) -> None:
    with pytest.raises(TypeError, match=f"^batchproof.{package} is a package, .*{names}"):
        getattr(batchproof, package)()


def test_packages_say_so_however_they_were_imported() -> None:
    code = "import batchproof.report, batchproof; batchproof.Step; batchproof.report('run')"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    said = "TypeError: batchproof.report is a package, not a function; call a name in it: dir("
    assert said in ended.stderr


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
