import inspect
from pathlib import Path
from typing import Annotated

import pytest

from batchproof.recipes import Settings, names
from batchproof.recipes._catalogue import load
from batchproof.recipes._command import command, default_settings, own_options, typed
from batchproof.recipes._guard import guarded

SHARED = {
    "--data", "--out", "--epochs", "--max-steps", "--batch-size", "--accumulate", "--lr", "--seed",
    "--device", "--precision", "--compile", "--resume", "--dry-run", "--overfit-batches",
    "--limit-train-batches", "--plot", "--logger", "--download",
}  # fmt: skip


def recipe(
    settings: Settings = Settings(epochs=3, lr=0.5),  # noqa: B008
    *,
    width: Annotated[int, "features in the middle"] = 8,
    file: Annotated[Path | None, "a file"] = None,
) -> None:
    """Stand in for a recipe."""


def called(*arguments: str):
    got = []
    parsed = command(recipe, "mine", lambda values, given: got.append((values, given)))
    assert guarded(parsed, arguments, "mine") == 0
    return got[0]


@pytest.mark.parametrize("name", names())
def test_every_recipe_has_every_shared_option(name):
    parsed = command(load(name).main, name, lambda values, given: None)
    flags = {flag for parameter in parsed.params for flag in parameter.opts}
    own = {f"--{option.replace('_', '-')}" for option in own_options(load(name).main)}
    assert flags == SHARED | own
    assert all(parameter.help for parameter in parsed.params)


def test_the_defaults_are_those_of_the_recipe():
    values, given = called()
    assert given == set()
    assert (values["epochs"], values["lr"], values["width"]) == (3, 0.5, 8)
    assert default_settings(recipe).lr == 0.5


def test_what_was_given_is_told_from_the_defaults():
    values, given = called("--lr", "0.5", "--logger", "a:b", "--logger", "c:d", "--compile")
    assert given == {"lr", "logger", "compile"}
    assert values["logger"] == ["a:b", "c:d"]
    assert values["compile"] is True


def test_the_help_shows_defaults_and_units(capsys):
    assert guarded(command(recipe, "mine", print), ["--help"], "mine") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "--width <int> features in the middle [default: 8]" in shown
    assert "--batch-size N samples a micro-batch [default: 64]" in shown
    assert "--lr RATE learning rate: step size over gradient of the mean [default: 0.5]" in shown


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--batch-size", "x"], "Invalid value for '--batch-size'"),
        (["--batchsize", "3"], "No such option: --batchsize"),
        (["--precision", "fp8"], "'fp8' is not one of 'fp32', 'bf16', 'fp16'"),
        (["stray"], "Got unexpected extra argument"),
    ],
)
def test_a_mistyped_option_is_one_line_and_status_2(capsys, arguments, line):
    assert guarded(command(recipe, "mine", print), arguments, "mine") == 2
    shown = capsys.readouterr().err
    assert shown.startswith("mine: ")
    assert line in shown
    assert shown.endswith("Try: mine --help\n")
    assert shown.count("\n") == 1


def test_values_come_back_from_json_in_their_own_types():
    assert typed(recipe, "data", "/x") == Path("/x")
    assert typed(recipe, "file", "/y") == Path("/y")
    assert typed(recipe, "data", None) is None
    assert typed(recipe, "logger", ["a"]) == ("a",)
    assert typed(recipe, "width", 3) == 3


def test_a_recipe_s_main_takes_settings_first_and_names_after():
    for name in names():
        first, *own = inspect.signature(load(name).main).parameters.values()
        assert isinstance(first.default, Settings)
        assert all(option.kind is option.KEYWORD_ONLY for option in own)
