"""The command line is a contract: an option is never lost or renamed by accident."""

import typer

from batchproof.cli import app

OPTIONS = {
    "demo": [],
    "train": [],
    "evaluate": ["RUN", "--data", "--device", "--script"],
    "check": [
        "MODULE:NAME", "--cuts", "--ranks", "--dtype", "--json", "--html", "--example", "--from",
    ],
    "watch": ["SCRIPT [ARG]...", "-m", "--json", "--html", "--steps", "--live"],
    "audit": [
        "PATH", "--output-format", "--select", "--ignore", "--extend-select", "--likely",
        "--fix", "--unsafe-fixes", "--diff", "--exit-zero", "--statistics", "--explain",
        "--show-files", "--no-cache", "--baseline", "--write-baseline", "--stdin-filename", "--lsp",
    ],
    "explain": [],
    "report": ["RUN", "--out"],
    "recipe": [],
    "recipe list": [],
    "recipe copy": ["NAME", "FILE"],
}  # fmt: skip
TRAIN = {
    "char_lm": ["--context", "--width", "--layers", "--tokens"],
    "grpo_toy": ["--answers", "--unit", "--clip", "--width"],
    "lenet5": ["--momentum", "--weight-decay", "--held-out"],
    "sequence_regression": ["--unit", "--layout", "--tokens", "--focus", "--width"],
    "softmax_regression": [],
    "tabular_weighted": ["--by", "--width"],
}
SHARED = [
    "--data", "--out", "--epochs", "--max-steps", "--batch-size", "--accumulate", "--lr", "--seed",
    "--device", "--precision", "--compile", "--resume", "--dry-run", "--overfit-batches",
    "--limit-train-batches", "--plot", "--summary", "--logger", "--download",
]  # fmt: skip


def shown(command) -> list[str]:
    return [
        parameter.metavar if parameter.param_type_name == "argument" else parameter.opts[0]
        for parameter in command.params
    ]


def commands():
    root = typer.main.get_command(app)
    assert shown(root) == ["--version", "--install-completion", "--show-completion"]
    found = {name: root.commands[name] for name in root.list_commands(None)}  # type: ignore[attr-defined]
    recipe = found["recipe"]
    return found | {f"recipe {name}": recipe.commands[name] for name in recipe.commands}


def test_the_commands_and_their_options_are_these():
    assert {name: shown(command) for name, command in commands().items()} == OPTIONS


def test_the_recipes_and_their_options_are_these():
    train = commands()["train"]
    assert train.list_commands(None) == list(TRAIN)
    for name, own in TRAIN.items():
        _, recipe, rest = train.resolve_command(None, [name, "--lr", "1"])
        assert shown(recipe) == [*own, *SHARED]
        assert rest == ["--lr", "1"]


def test_the_topics_take_a_page_beside_their_own_options():
    explain = commands()["explain"]
    for name in explain.list_commands(None):
        assert shown(explain.get_command(None, name))[-1] == "--html"
    assert len(explain.list_commands(None)) == 11
