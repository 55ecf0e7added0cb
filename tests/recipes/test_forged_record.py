"""A run folder of somebody else: nothing that it says is run, written to, or fetched."""

import json
import shutil

import pytest

from batchproof.recipes._catalogue import load
from batchproof.recipes._session import _defaults, train

pytestmark = pytest.mark.usefixtures("unchecked")
NAME = "tabular_weighted"


@pytest.fixture(scope="module")
def a_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "table"
    main = load(NAME).main
    values = _defaults(main) | {"out": folder, "max_steps": 3, "progress": False}
    train(main, NAME, values | {"logger": []}, {"max_steps"}, f"batchproof train {NAME}")
    return folder


@pytest.fixture
def run(a_run, tmp_path):
    return shutil.copytree(a_run, tmp_path / "table")


def forge(run, **parts):
    """Change the record of a run; a part is a mapping of values to change, or what replaces it."""
    config = json.loads((run / "config.json").read_text())
    for name, values in parts.items():
        if isinstance(values, dict):
            config["info"][name] |= values
        else:
            config["info"][name] = values
    (run / "config.json").write_text(json.dumps(config))


def test_a_logger_that_a_record_names_is_never_imported(batchproof, run, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("open('PWNED', 'w').write('code ran')")
    monkeypatch.syspath_prepend(tmp_path)
    forge(run, settings={"logger": ["evil:x"]}, options={"logger": ["evil:x"]}, loggers=["evil:x"])
    assert batchproof("evaluate", run).status == 0
    ended = batchproof("train", NAME, "--out", run, "--resume", "--max-steps", 5)
    assert ended.status == 0, ended.err
    assert "the run was begun with --logger evil:x; give it again to log there" in ended.err
    assert not (tmp_path / "PWNED").exists()


def test_where_a_resumed_run_writes_is_not_what_its_record_says(batchproof, run, tmp_path):
    forge(run, settings={"out": str(tmp_path / "elsewhere")}, options={"out": "elsewhere"})
    before = (run / "metrics.jsonl").stat().st_size
    ended = batchproof("train", NAME, "--out", run, "--resume", "--max-steps", 5)
    assert ended.status == 0, ended.err
    assert (run / "metrics.jsonl").stat().st_size > before
    assert [path.name for path in tmp_path.iterdir()] == ["table"]


def test_a_record_never_sends_anything_to_the_network(batchproof, run, tmp_path, monkeypatch):
    def reached(*_, **__):
        raise AssertionError("the network was reached")

    monkeypatch.setattr("socket.socket.connect", reached)
    (tmp_path / "data").mkdir()
    settings = {"download": True, "data": str(tmp_path / "data")}
    forge(run, settings=settings, options={"download": True})
    ended = batchproof("evaluate", run)
    assert ended.status == 2
    assert "missing" in ended.err


@pytest.mark.parametrize("command", ["evaluate", "resume"])
def test_device_and_plot_are_those_of_the_command(batchproof, run, tmp_path, command):
    forge(run, settings={"device": "nowhere:7", "plot": True, "resume": True, "dry_run": True})
    ended = (
        batchproof("evaluate", run)
        if command == "evaluate"
        else batchproof("train", NAME, "--out", run, "--resume", "--max-steps", 4)
    )
    assert ended.status == 0, ended.err
    assert not list(run.rglob("*.png"))


WRONG = [
    ("settings", {"batch_size": "x"}, "batch_size is 'x'; expected a whole number"),
    ("settings", {"batch_size": 10**400}, "batch_size is 1000"),
    ("settings", {"compile": "x"}, "compile is 'x'; expected true or false"),
    ("settings", {"lr": None}, "lr is None; expected a number"),
    ("settings", {"lr": [0.1]}, "lr is [0.1]; expected a number"),
    ("settings", {"seed": -1}, "seed is -1; expected 0 or more"),
    ("settings", {"precision": "fp8"}, "precision is 'fp8'; expected one of fp32, bf16, fp16"),
    ("settings", {"data": 3}, "data is 3; expected a path"),
    ("settings", {"data": "\0"}, "expected a path"),
    ("settings", {"epochs": 1.5}, "epochs is 1.5; expected a whole number"),
    ("options", {"width": 10**9}, "width is 1000000000; expected a whole number from 1 to 4096"),
    ("options", {"width": "64"}, "width is '64'"),
    ("options", {"by": ["sex"]}, "by is ['sex']; expected a string"),
    ("settings", [], "was not trained by a recipe"),
    ("options", None, "was not trained by a recipe"),
    ("recipe", 7, "was not trained by a recipe"),
    ("recipe", "\x1b[31mred", r"trained by the script \x1b[31mred; to run it"),
]


@pytest.mark.parametrize(("part", "values", "sentence"), WRONG)
def test_a_record_of_other_types_is_one_line(batchproof, run, part, values, sentence):
    forge(run, **{part: values})
    ended = batchproof("evaluate", run)
    assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert sentence in ended.err
    if part != "recipe":
        resumed = batchproof("train", NAME, "--out", run, "--resume")
        assert (resumed.status, resumed.err.count("\n")) == (2, 1)
        assert sentence in resumed.err


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{", "[]", "null", '"x"', "\x00", '{"info": {"recipe": {}}}']
)
def test_a_configuration_that_is_none_is_one_line(batchproof, run, text):
    (run / "config.json").write_text(text)
    for arguments in (["evaluate", run], ["train", NAME, "--out", run, "--resume"]):
        ended = batchproof(*arguments)
        assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1)
