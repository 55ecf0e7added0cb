"""Probes by name, as the command line takes them."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

import check_cases as cases
from batchproof import ProbeError
from batchproof.check import Heads, check_step, load_probe, run_probe, write_example
from batchproof.mistakes import Remedy

RUN = cases.exact(cases.of_classes)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if getattr(sys.modules[name], "__file__", "") and str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


def test_the_example_runs_and_finds_its_mistake(here):
    assert write_example("first_probe.py").read_text().startswith('"""A probe')
    report = run_probe("first_probe:step")
    # where nothing in a micro-batch counts, F.cross_entropy divides 0 by 0
    assert report.names == ("mean-of-micro-batch-means", "empty-micro-batch-nan")
    assert report.unit == "element"


def test_the_example_overwrites_nothing(here):
    (here / "mine.py").write_text("x = 1\n")
    with pytest.raises(ProbeError, match=r"mine\.py exists; choose another name"):
        write_example("mine.py")
    with pytest.raises(ProbeError, match="cannot be written"):
        write_example(here / "missing" / "probe.py")
    with pytest.raises(ProbeError, match=r"'mine' is not the name of a Python file"):
        write_example("mine")
    assert [path.name for path in here.iterdir()] == ["mine.py"]


def test_the_example_says_how_to_run_it_where_it_lies(here):
    (here / "probes").mkdir()
    assert write_example("probes/mine.py") == Path("probes/mine.py")
    assert "batchproof check probes/mine.py:step\n" in Path("probes/mine.py").read_text()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"samples": 5}, "samples cannot be made: TypeError: 'int' object is not iterable"),
        ({"samples": lambda: {}["here"]}, "samples cannot be made: KeyError: 'here'"),
        ({"kind": "evaluat"}, "kind is 'evaluat'; expected 'step' or 'evaluate'"),
        ({"run": lambda *_: sys.exit(3)}, r"run failed under cut 'whole' \(7\): SystemExit: 3"),
    ],
)
def test_a_probe_that_cannot_be_meant_is_refused(unchecked, changes, match):
    probe = cases.Case("", cases.TABULAR, RUN).probe()
    with pytest.raises(ProbeError, match=match):
        replace(probe, **changes).check()


def test_settings_of_the_command_line_replace_the_probes(here):
    write_example("second_probe.py")
    report = run_probe("second_probe.py:step", cuts="halves", dtype="float32", ranks="1")
    assert [cut.name for cut in report.cuts] == ["whole", "halves"]
    assert report.tolerance == 2e-5


def test_several_probes_make_a_table(here):
    write_example("third_probe.py")
    with (here / "third_probe.py").open("a") as file:
        file.write("heads = {'one': step, 'two': lambda: step}\nboth = {'one': step}\n")
    assert isinstance(run_probe("third_probe:both"), Heads)
    with pytest.raises(ProbeError, match="is dict; expected a batchproof"):
        run_probe("third_probe:heads")


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("nothing", "does not name a probe; expected MODULE:NAME"),
        ("no_such_module:step", "cannot be imported: ModuleNotFoundError"),
        ("no_such_file.py:step", "there is no file 'no_such_file.py'"),
        ("leaves_at_once:step", "cannot be imported: SystemExit: 3"),
        ("math:step", "math has no 'step'; probes in it: none"),
        ("math:pi", "math:pi is float; expected a batchproof.check.Probe"),
    ],
)
def test_a_probe_that_cannot_be_imported_is_refused(here, spec, match):
    (here / "leaves_at_once.py").write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(ProbeError, match=match) as caught:
        load_probe(spec)
    assert "\n" not in str(caught.value)


def test_a_module_that_fails_is_refused_with_its_error(here):
    (here / "failing.py").write_text("1 / 0\n")
    with pytest.raises(ProbeError, match="'failing' cannot be imported: ZeroDivisionError"):
        load_probe("failing:step")


@pytest.mark.parametrize(
    ("settings", "match"),
    [({"ranks": "two"}, "ranks is 'two'"), ({"dtype": "int64"}, "dtype is 'int64'")],
)
def test_settings_that_cannot_be_read_are_refused(here, settings, match):
    write_example("fourth_probe.py")
    with pytest.raises(ProbeError, match=match):
        run_probe("fourth_probe:step", **settings)


def test_a_script_is_refused_before_it_is_run(here):
    (here / "a_script.py").write_text(
        "from pathlib import Path\n"
        "Path('ran').touch()\n"
        "def train(model, loader, *, epochs, seed=0):\n    pass\n"
    )
    for spec in ("a_script:train", "a_script.py:train"):
        with pytest.raises(ProbeError, match="takes model, loader, epochs, not a probe; expected"):
            load_probe(spec)
    assert not (here / "ran").exists()


def test_a_callable_that_takes_arguments_is_not_a_probe(here):
    (here / "made.py").write_text("train = lambda model, loader: None\n")
    with pytest.raises(ProbeError, match="made:train is a function that takes model, loader, not"):
        load_probe("made:train")


def test_remedies_of_a_framework_take_the_place_of_the_catalogues():
    mine = Remedy("Do as the framework wants.", "framework.do()")
    step = cases.Case("", cases.TABULAR, cases.averaged(cases.of_classes)).probe()
    report = replace(step, remedies={"mean-of-micro-batch-means": mine}).check()
    (diagnosis,) = report.diagnoses
    assert (diagnosis.remedy, diagnosis.code) == (mine.sentence, mine.code)
    assert step.check().diagnoses[0].remedy != mine.sentence


@dataclass
class Example:
    """A sample of a dataclass."""

    x: torch.Tensor
    y: torch.Tensor


def test_samples_may_be_dataclasses():
    def collate(samples):
        return Example(torch.stack([s.x for s in samples]), torch.stack([s.y for s in samples]))

    def run(model, optimizer, batches):
        pairs = [(batch.x, batch.y) for batch in batches]
        cases.averaged(cases.of_classes)(model, optimizer, pairs)

    samples = [Example(x, y) for x, y in cases.vectors()]
    report = check_step(run, samples, build=cases.Build(cases.MLP), collate=collate)
    assert report.names == ("mean-of-micro-batch-means",), str(report)
