import json
import os

import pytest

from batchproof import __version__, recipes
from batchproof.recipes import names
from command_line import shell
from run_folders import make_run


def test_help_and_version_load_no_torch(tmp_path):
    script = (
        "import sys, atexit\n"
        "from batchproof.cli import main\n"
        "atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))\n"
        "main()"
    )
    for arguments in (["--help"], ["train", "--help"], ["recipe", "list"], ["explain", "--help"]):
        ended = shell("-c", script, *arguments, cwd=tmp_path)
        assert (ended.status, ended.err) == (0, "False\n")
        assert ended.out
    assert f"batchproof {__version__}" in shell("-m", "batchproof", "--version", cwd=tmp_path).out


def test_the_commands_are_listed_in_the_order_in_which_one_meets_them(batchproof):
    shown = batchproof("--help").out
    places = [shown.index(f"\n  {name} ") for name in ("demo", "train", "evaluate", "check")]
    assert places == sorted(places)


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["recipe", "list"]])
def test_what_is_listed_is_whole_and_fits_a_terminal_of_80_columns(batchproof, arguments):
    lines = batchproof(*arguments).out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not any(line.endswith("...") for line in lines if "Usage: " not in line)


@pytest.mark.parametrize("arguments", [[], ["train"], ["recipe"], ["explain"]])
def test_nothing_to_do_shows_the_help(batchproof, arguments):
    ended = batchproof(*arguments)
    assert ended.status == 2
    assert "Usage: batchproof" in ended.err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["paint"], "No such command 'paint'. Did you mean"),
        (["evaluate"], "Missing argument 'RUN'. Try: batchproof evaluate --help"),
        (["recipe", "copy", "lenet5"], "Missing argument 'FILE'. Try: batchproof recipe copy"),
        (["explain", "love"], "there is no topic 'love'; the topics are mean, cross-entropy"),
        (["explain", "not-divided"], "not a topic; run batchproof audit --explain not-divided."),
        (["explain", "sgd", "--lr", "fast"], "Invalid value for '--lr'"),
        (
            ["audit", "--output-format", "xml"],
            "Invalid value for '--output-format': 'xml' is not one of 'text', 'concise', 'json'",
        ),
        (["check"], "no probe was given; give MODULE:NAME, or --example"),
        (["check", "nowhere:probe"], "nowhere"),
        (["report", "nowhere"], "nowhere"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(batchproof, unchecked, arguments, line):
    ended = batchproof(*arguments)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("batchproof: ")
    assert line in ended.err
    assert ended.err.count("\n") == 1


def test_recipes_are_listed_with_their_first_lines(batchproof):
    lines = batchproof("recipe", "list").out.splitlines()
    assert len(lines) == 6
    assert "lenet5               LeNet-5 reads handwritten digits." in lines


def test_a_recipe_is_copied_once(batchproof, tmp_path):
    assert "run it: python mine.py --help" in batchproof("recipe", "copy", "lenet5", "mine.py").out
    assert "mine.py exists already" in batchproof("recipe", "copy", "lenet5", "mine.py").err
    assert batchproof("recipe", "copy", "lenet", "other.py").status == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


def test_a_topic_is_worked_out_from_given_values(batchproof, tmp_path):
    ended = batchproof("explain", "cross-entropy", "--logits", "3,0", "--target", "1")
    assert ended.status == 0
    assert "the loss is 3.05" in " ".join(ended.out.split())
    page = batchproof("explain", "cross-entropy", "--html", "page.html")
    assert page.out == "wrote page.html\n"
    assert "0.417" in (tmp_path / "page.html").read_text()


def test_a_run_is_trained_evaluated_resumed_and_reported(batchproof, tmp_path):
    ended = batchproof("train", "tabular_weighted", "--max-steps", 40)
    assert ended.status == 0
    assert ended.out.endswith(
        "\nrun folder: runs/tabular_weighted\nnext: batchproof report runs/tabular_weighted\n"
    )
    table = ended.out.partition("\n\nrun folder")[0].strip()
    assert batchproof("evaluate", "runs/tabular_weighted").out.strip() == table
    further = batchproof("train", "tabular_weighted", "--resume", "--max-steps", 50)
    assert further.status == 0
    assert "resuming runs/tabular_weighted from step 40" in further.err
    # an end that is given when a run is resumed replaces both that it was begun with
    further = batchproof("train", "tabular_weighted", "--resume", "--epochs", 2)
    assert "from step 50" in further.err
    assert "epoch 2/2" in further.err
    assert batchproof("report", "runs/tabular_weighted").out.startswith("wrote ")
    assert (tmp_path / "runs" / "tabular_weighted" / "report.html").is_file()


def test_a_second_run_gets_a_folder_of_its_own(batchproof, tmp_path):
    for _ in range(2):
        assert batchproof("train", "tabular_weighted", "--max-steps", 1).status == 0
    found = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert found == ["tabular_weighted", "tabular_weighted-2"]


@pytest.mark.parametrize("recipe", ["sequence_regression", "softmax_regression"])
def test_a_dry_run_measures_one_batch_of_each_and_keeps_nothing(batchproof, tmp_path, recipe):
    ended = batchproof("train", recipe, "--dry-run", "--batch-size", 5, "--accumulate", 2)
    assert ended.status == 0
    rows = [line.split() for line in ended.out.splitlines() if "±" in line and line[2] != " "]
    seen = {10 if "train" in row else 5 for row in rows}
    assert {int(row[-1]) for row in rows} == seen
    assert len(rows) == (2 if recipe == "sequence_regression" else 4)
    assert "train, validate, save and load work; nothing was kept" in ended.out
    assert not list(tmp_path.iterdir())


def test_a_step_that_depends_on_the_cut_is_status_1(batchproof, tmp_path):
    assert batchproof("check", "--example").out == (
        "wrote probe.py; run it: batchproof check probe.py:step\n"
    )
    ended = batchproof("check", "probe.py:step", "--cuts", "halves,uneven", "--json", "found.json")
    assert ended.status == 1
    assert "mean-of-micro-batch-means" in ended.out
    assert json.loads((tmp_path / "found.json").read_text())["ok"] is False


def test_a_check_is_in_colour_on_a_terminal_and_plain_elsewhere(batchproof, monkeypatch):
    batchproof("check", "--example")
    arguments = ("check", "probe.py:step", "--cuts", "halves")
    assert "\x1b[" not in batchproof(*arguments).out
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in batchproof(*arguments).out


def test_the_example_is_written_under_the_name_that_is_given(batchproof, tmp_path):
    assert batchproof("check", "--example").status == 0
    taken = batchproof("check", "--example")
    assert (taken.status, taken.out) == (2, "")
    assert taken.err == (
        "batchproof: probe.py exists; choose another name for the example: "
        "batchproof check --example FILE.py\n"
    )
    assert batchproof("check", "--example", "mine.py").out == (
        "wrote mine.py; run it: batchproof check mine.py:step\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.py", "probe.py"]


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_a_report_that_could_not_be_kept_is_refused_before_the_check(batchproof, tmp_path, option):
    for place, reason in ((tmp_path / "nowhere" / "x", "no such file"), (tmp_path, "is a dir")):
        ended = batchproof("check", "no_such_module:step", option, place)
        assert (ended.status, ended.out) == (2, "")
        assert ended.err.startswith(f"batchproof: {place}: {reason}")
        assert ended.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


_RESULTS = {}


@pytest.fixture
def demo(batchproof, monkeypatch):
    """Run the demo; its training is done once, and shown again by later tests."""
    train_recipe = recipes.train_recipe

    def train_once(name, folder, **options):
        if name not in _RESULTS:
            _RESULTS[name] = train_recipe(name, folder, **options)
        return _RESULTS[name]

    monkeypatch.setattr(recipes, "train_recipe", train_once)
    return lambda: batchproof("demo")


@pytest.mark.xdist_group("demo")
def test_the_demo_ends_with_its_tables_and_what_to_do_next(demo):
    ended = demo()
    assert ended.status == 0
    assert ended.out.startswith("LeNet-5 on the 1,797 handwritten digits")
    shown = " ".join(ended.out.split())
    assert "epoch train loss validation loss accuracy" in shown
    assert "exact loss the usual loop prints off by" in shown
    assert ended.out.count("best") == 1
    assert ended.out.endswith("run folder: runs/demo\nnext: batchproof report runs/demo\n")
    assert "\x1b" not in ended.out + ended.err


@pytest.mark.xdist_group("demo")
def test_the_demo_breaks_its_lines_between_words_on_a_narrow_terminal(demo, monkeypatch):
    for name, value in {"TTY_COMPATIBLE": "1", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    ended = demo()
    assert ended.status == 0
    words = ended.out[ended.out.index("The usual loop divides") :].splitlines()
    assert max(map(len, words)) <= 80


@pytest.mark.parametrize("command", [[], ["train"], ["train", "lenet5"], ["explain", "mean"]])
def test_a_letter_asks_for_help_everywhere(batchproof, command):
    assert batchproof(*command, "-h").out == batchproof(*command, "--help").out != ""


def test_a_shell_is_told_what_may_come_next(tmp_path, monkeypatch):
    monkeypatch.setenv("_BATCHPROOF_COMPLETE", "complete_bash")
    for line, answer in {
        "batchproof ex": "explain",
        "batchproof train le": "lenet5",
        "batchproof train lenet5 --mo": "--momentum",
        "batchproof explain padding --le": "--lengths",
    }.items():
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
        ended = shell("-m", "batchproof", cwd=tmp_path)
        assert (ended.out.split(), ended.err) == ([answer], "")


@pytest.mark.parametrize("recipe", names())
def test_the_help_of_a_recipe_keeps_its_lines_and_fits_80_columns(batchproof, recipe):
    lines = batchproof("train", recipe, "--help").out.splitlines()
    assert max(map(len, lines)) <= 80
    commands = [line.strip() for line in lines if line.strip().startswith("batchproof train")]
    assert commands
    assert all(line.startswith(f"batchproof train {recipe}") for line in commands)


def test_a_page_is_not_written_through_what_a_run_folder_holds(batchproof, tmp_path):
    run = make_run(tmp_path / "run")
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    page = run / "report.html"
    for kind in ("link", "pipe", "device"):
        page.unlink(missing_ok=True)
        if kind == "pipe":
            os.mkfifo(page)
        else:
            page.symlink_to(victim if kind == "link" else "/dev/null")
        ended = batchproof("report", run)
        assert (ended.status, ended.err.count("\n")) == (2, 1)
        assert "is not a regular file; name another page: --out FILE" in ended.err
    assert victim.read_text() == "mine"
    page.unlink()
    (run / ".report.html.draft").symlink_to(victim)
    assert batchproof("report", run).status == 0
    assert victim.read_text() == "mine"
