"""A recipe run from the command line: trained, resumed, or evaluated from its folder."""

import inspect
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import typer

from batchproof._errors import CheckpointError, RunFolderError, RunInterruptedError, SettingError
from batchproof.page import printable
from batchproof.ranks import launched_as, on_first, was_restarted
from batchproof.recipes._catalogue import load, load_script, names
from batchproof.recipes._record import read_record
from batchproof.recipes._results import Results
from batchproof.recipes._settings import Role, Settings
from batchproof.runs import latest_folder, reserved, runs_in
from batchproof.shell import Option, options_of
from batchproof.train import Progress

Values = dict[str, Any]


def train(
    main: Callable[..., Results], recipe: str, values: Values, from_user: set[str], command: str
) -> tuple[Results, Path | None]:
    """Run a recipe with its options.

    Args:
        main: the recipe's main function.
        recipe: its name, or the path of its script.
        values: all options by name.
        from_user: the names of the options given, not left at their defaults.
        command: the shell's command, for the line that says how to resume.

    Returns:
        The recipe's results, and the run folder.

    Raises:
        RunInterruptedError: if a signal ended the run; it says how to resume.
    """
    with ExitStack() as resources, _unwinding():
        # only rank 0 looks at folders, which it alone writes
        values = on_first(lambda: _prepared(main, recipe, values, from_user, resources))
        settings, options = _split(main, recipe, values)
        try:
            return main(settings, **options), settings.out
        except KeyboardInterrupt as interrupt:
            raise _interrupted(interrupt, settings.out, command) from None


@contextmanager
def _unwinding() -> Iterator[None]:
    """End a run at SIGTERM as at Ctrl-C, so that nothing half-written is left."""

    def end(number: int, frame: object) -> None:
        del frame
        raise RunInterruptedError("ended by SIGTERM.", number)

    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupted(interrupt: KeyboardInterrupt, out: Path | None, command: str) -> KeyboardInterrupt:
    """Return the interruption with the place of the saved state and the command to resume."""
    number = interrupt.signal if isinstance(interrupt, RunInterruptedError) else signal.SIGINT
    if out is None or not runs_in(out):
        return RunInterruptedError("interrupted; nothing was kept.", number)
    at, _, resumes = str(interrupt).partition("; resume with")
    if not resumes:
        at = f"interrupted by {signal.Signals(number).name}; what was saved is whole in {out}"
    how = "resume" if launched_as().world_size == 1 else "resume, under the same launcher"
    return RunInterruptedError(f"{at}; {how}: {command} --out {out} --resume", number)


def _prepared(
    main: Callable[..., Results],
    recipe: str,
    values: Values,
    from_user: set[str],
    resources: ExitStack,
) -> Values:
    """Return the options with a new run folder, or those that the resumed run was begun with."""
    name = Path(recipe).stem
    values = dict(values)
    limits = {name for name, option in options_by_name(main).items() if role(option) is Role.LIMIT}
    if len(from_user & limits) == 1:
        # the one that is given replaces the other
        values |= dict.fromkeys(limits - from_user)
    if was_restarted() and values["out"] is not None and runs_in(values["out"]):
        values["resume"] = True
    if values["resume"]:
        values["out"] = values["out"] or latest_folder(name)
        return _as_begun(main, recipe, values, from_user)
    if values["dry_run"]:
        return values | {"out": None}
    return values | {"out": resources.enter_context(reserved(name, values["out"]))}


def train_recipe(name: str, out: Path, *, progress: bool | Progress = True) -> Results:
    """Train a recipe with its defaults, on the data that needs no files.

    Args:
        name: the recipe's name.
        out: the run folder.
        progress: whether to show progress, or the object that shows it.
    """
    main = load(name).main
    command = f"batchproof train {name}"
    values = _defaults(main) | {"out": out, "progress": progress}
    return train(main, name, values, set(), command)[0]


def evaluate_run(
    run: Path, data: Path | None = None, script: Path | None = None, *, device: str = "auto"
) -> Results:
    """Return the results of a run's recipe with the run's best weights.

    Args:
        run: the run folder.
        data: the data folder, if it is not the one that the run was trained on.
        script: the script that trained the run, if no recipe of batchproof did; it is run.
        device: the device to compute on.

    Raises:
        SettingError: if the run was trained by a script and none is given.
    """
    record = read_record(run)
    if "part" in record and runs_in(run) == [run]:
        run = run.parent
    recipe = record["recipe"]
    if script is not None:
        module = load_script(script)
    elif recipe in names():
        module = load(recipe)
    else:
        raise SettingError(
            f"{run} was trained by the script {recipe}; to run it, give --script {recipe}"
        )
    values = _defaults(module.main) | _recorded(module.main, record, run)
    values |= {"out": run, "evaluate": True, "device": device}
    if data is not None:
        values["data"] = data
    settings, options = _split(module.main, recipe, values)
    results: Results = module.main(settings, **options)
    return results


def _as_begun(
    main: Callable[..., Results], recipe: str, values: Values, from_user: set[str]
) -> Values:
    """Return the options that a run was begun with, but for those given now that may differ."""
    folder = values["out"]
    record = read_record(folder)
    if record["recipe"] != recipe:
        raise CheckpointError(
            f"the run in {folder} was trained by {record['recipe']}, not by {recipe}; resume it "
            "with that, or start a new run with another --out."
        )
    options = options_by_name(main)
    former = _recorded(main, record, folder)
    limits = {name: value for name, value in former.items() if role(options[name]) is Role.LIMIT}
    overrides = from_user | (limits.keys() if from_user & limits.keys() else set())
    previous = {name: value for name, value in former.items() if name not in overrides}
    for name in sorted(from_user & former.keys()):
        if role(options[name]) is Role.NUMBERS and values[name] != former[name]:
            flag = options[name].flag
            raise CheckpointError(
                f"{flag} is {values[name]} but the run in {folder} was begun with "
                f"{former[name]}; leave {flag} out, or start a new run with --out."
            )
    if record["loggers"] and not values["logger"]:
        loggers = " ".join(f"--logger {name}" for name in record["loggers"])
        typer.echo(
            printable(f"the run was begun with {loggers}; give it again to log there"), err=True
        )
    return values | previous | {"begun_with": limits}


def role(option: Option) -> Role:
    """Return the role of an option in a run folder's record."""
    return next((note for note in option.notes if isinstance(note, Role)), Role.NUMBERS)


def options_by_name(main: Callable[..., Results]) -> dict[str, Option]:
    """Return the options of a recipe: its own, and those of Settings with its defaults."""
    settings = _default_settings(main)
    shared = {
        name: replace(option, default=getattr(settings, name))
        for name, option in options_of(Settings).items()
    }
    return options_of(main) | shared


def _default_settings(main: Callable[..., Results]) -> Settings:
    """Return the Settings that a recipe's main has by default."""
    first = next(iter(inspect.signature(main).parameters.values()))
    settings = first.default
    assert isinstance(settings, Settings)
    return settings


def _recorded(main: Callable[..., Results], record: Mapping[str, Any], folder: Path) -> Values:
    """Return a record's values of the options that decide the numbers, each in its type.

    Raises:
        RunFolderError: if a value is of another type.
    """
    options, own = options_by_name(main), options_of(main)
    values: Values = {}
    for name, option in options.items():
        place = record["options"] if name in own else record["settings"]
        if name not in place or role(option) is Role.COMMAND:
            continue
        try:
            values[name] = option.checked(place[name])
        except ValueError as error:
            raise RunFolderError(
                f"{folder} cannot be used: in the record of its recipe {error}; {_ALTERED}"
            ) from None
    return values


_ALTERED = "its config.json was altered, or written by another version."


def _defaults(main: Callable[..., Results]) -> Values:
    settings = _default_settings(main)
    shared = {field.name: getattr(settings, field.name) for field in fields(Settings)}
    return shared | {name: option.default for name, option in options_of(main).items()}


def _split(
    main: Callable[..., Results], recipe: str, values: Values
) -> tuple[Settings, dict[str, Any]]:
    """Return the Settings, which hold the record of them, and the recipe's own options."""
    own, options = options_of(main), options_by_name(main)
    shared = {name: value for name, value in values.items() if name not in own}
    shared["logger"] = tuple(shared["logger"])
    if shared["data"] is not None:
        shared["data"] = shared["data"].expanduser().resolve()
    mine = {name: value for name, value in values.items() if name in own}
    record_of = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in (shared | mine).items()
        if name in options and role(options[name]) is not Role.COMMAND
    }
    record = {
        "recipe": recipe,
        "settings": {name: value for name, value in record_of.items() if name not in own},
        "options": {name: value for name, value in record_of.items() if name in own},
        "loggers": list(shared["logger"]),
    }
    return Settings(**shared | {"record": record}), mine
