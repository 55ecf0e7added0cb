import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import pytest

from batchproof import SettingError
from batchproof.recipes import Settings, names
from batchproof.recipes._catalogue import load
from batchproof.recipes._session import options_by_name
from batchproof.shell import AtLeast, Between, Metavar, Option, command, guarded, options_of

SHARED = {
    "--data", "--out", "--epochs", "--max-steps", "--batch-size", "--accumulate", "--lr", "--seed",
    "--device", "--precision", "--compile", "--resume", "--dry-run", "--overfit-batches",
    "--summary", "--limit-train-batches", "--plot", "--logger", "--download",
}  # fmt: skip


def recipe(
    settings: Settings = Settings(epochs=3, lr=0.5),  # noqa: B008
    *,
    width: Annotated[int, "features in the middle"] = 8,
    file: Annotated[Path | None, "a file"] = None,
) -> None:
    """Stand in for a recipe."""


def parsed(call=print, main=recipe):
    return command("mine", options_by_name(main).values(), call, text="What it does.")


def called(*arguments: str):
    got = []
    assert (
        guarded(parsed(lambda values, given: got.append((values, given))), arguments, "mine") == 0
    )
    return got[0]


@pytest.mark.parametrize("name", names())
def test_every_recipe_has_every_shared_option(name):
    main = load(name).main
    made = parsed(main=main)
    flags = {flag for parameter in made.params for flag in parameter.opts}
    assert flags == SHARED | {option.flag for option in options_of(main).values()}
    assert all(parameter.help for parameter in made.params)


def test_the_defaults_are_those_of_the_recipe():
    values, given = called()
    assert given == set()
    assert (values["epochs"], values["lr"], values["width"]) == (3, 0.5, 8)


def test_what_was_given_is_told_from_the_defaults():
    values, given = called("--lr", "0.5", "--logger", "a:b", "--logger", "c:d", "--compile")
    assert given == {"lr", "logger", "compile"}
    assert values["logger"] == ["a:b", "c:d"]
    assert values["compile"] is True


def test_the_help_shows_defaults_and_units(capsys):
    assert guarded(parsed(), ["--help"], "mine") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "--width INTEGER features in the middle [default: 8]" in shown
    assert "--batch-size N samples per micro-batch [default: 64]" in shown
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
    assert guarded(parsed(), arguments, "mine") == 2
    shown = capsys.readouterr().err
    assert shown.startswith("mine: ")
    assert line in shown
    assert shown.endswith("Try: mine --help\n")
    assert shown.count("\n") == 1


def test_a_recipe_s_main_takes_settings_first_and_names_after():
    for name in names():
        first, *own = inspect.signature(load(name).main).parameters.values()
        assert isinstance(first.default, Settings)
        assert all(option.kind is option.KEYWORD_ONLY for option in own)


OPTIONS = {
    "flag": Annotated[bool, "whether"],
    "count": Annotated[int, AtLeast(1), "how many"],
    "width": Annotated[int | None, Between(1, 64), Metavar("N"), "features"],
    "rate": Annotated[float, AtLeast(0), "step size"],
    "name": Annotated[str, "of it"],
    "kind": Annotated[Literal["a", "b"], "which"],
    "file": Annotated[Path | None, "a file"],
    "sizes": Annotated[Sequence[int], "of batches"],
    "losses": Annotated[Sequence[float], "of samples"],
    "names": Annotated[tuple[str, ...], "of all"],
}


def option(name: str) -> Option:
    return Option.of(name, OPTIONS[name], None)


@pytest.mark.parametrize(
    ("name", "value", "typed"),
    [
        ("flag", True, True),
        ("count", 3, 3),
        ("width", None, None),
        ("rate", 2, 2.0),
        ("kind", "a", "a"),
        ("file", "/y", Path("/y")),
        ("file", None, None),
        ("sizes", [1, 2], [1, 2]),
        ("names", ["a"], ("a",)),
    ],
)
def test_a_value_of_a_file_comes_back_in_the_type_of_its_option(name, value, typed):
    assert option(name).checked(value) == typed


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("flag", "x", "flag is 'x'; expected true or false"),
        ("flag", 1, "flag is 1"),
        ("count", 0, "count is 0; expected a whole number, 1 or more"),
        ("count", True, "count is True"),
        ("count", 1.0, "count is 1.0"),
        ("count", None, "count is None"),
        ("count", 10**400, r"count is 1000000\d*\.\.\.;"),
        ("width", 10**9, "width is 1000000000; expected a whole number from 1 to 64"),
        ("rate", float("nan"), "rate is nan; expected a number, 0 or more"),
        ("rate", float("inf"), "rate is inf"),
        ("rate", "0.1", "rate is '0.1'"),
        ("name", ["a"], "name is .*expected a string"),
        ("kind", "c", "kind is 'c'; expected one of a, b"),
        ("kind", ["a"], "kind is"),
        ("file", "a\0b", "expected a path"),
        ("file", {}, "expected a path"),
        ("sizes", [1, "2"], "expected whole numbers separated by commas"),
        ("losses", 1.0, "expected numbers separated by commas"),
        ("names", "ab", "names is 'ab'; expected strings"),
    ],
)
def test_a_value_of_another_type_or_beyond_a_limit_is_refused(name, value, expected):
    with pytest.raises(ValueError, match=expected):
        option(name).checked(value)


def test_a_text_is_read_as_on_the_command_line():
    assert option("sizes").parse(" 1,2 ") == (1, 2)
    assert option("losses").parse("") == ()
    assert option("count").parse("3") == 3
    with pytest.raises(SettingError, match="sizes is '1;2'; expected whole numbers separated by"):
        option("sizes").parse("1;2")
    with pytest.raises(SettingError, match="kind is 'z'; expected one of a, b"):
        option("kind").parse("z")


def test_lists_are_parsed_and_shown_with_their_default(capsys):
    lists = [Option.of("losses", OPTIONS["losses"], (1.0, 2.5))]
    got = []
    made = command("mine", lists, lambda values, given: got.append(values), text="What it does.")
    assert guarded(made, ["--losses", "3,4"], "mine") == 0
    assert got == [{"losses": (3.0, 4.0)}]
    assert guarded(made, ["-h"], "mine") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "--losses NUMBERS of samples [default: 1.0,2.5]" in shown
    assert guarded(made, ["--losses", "3;4"], "mine") == 2
    assert "losses is '3;4'; expected numbers separated by commas" in capsys.readouterr().err


def test_indented_lines_of_a_help_stay_as_they_are(capsys):
    text = "Do it.\n\n    do one     the first\n    do two     the second\n\nThe end."
    assert guarded(command("do", [], print, text=text), ["--help"], "do") == 0
    shown = capsys.readouterr().out
    assert "      do one     the first\n      do two     the second\n" in shown
