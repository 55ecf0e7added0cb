"""A recipe run from the command line: trained, gone on with, or evaluated from its folder."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from batchproof._errors import CheckpointError, RunInterruptedError, SettingError
from batchproof.ranks import on_first
from batchproof.recipes._catalogue import load, load_script, names
from batchproof.recipes._command import default_settings, own_options, typed
from batchproof.recipes._record import read_record
from batchproof.recipes._results import Results
from batchproof.recipes._settings import Settings
from batchproof.runs import latest_folder, reserved, runs_in
from batchproof.train import Progress

# what a run may be gone on with otherwise than it was begun
FREE = {"data", "out", "epochs", "max_steps", "device", "resume", "plot", "logger", "download"}
# where training ends
ENDS = {"epochs", "max_steps"}
# what says how a command is run, and not what the run is
UNRECORDED = {
    *("out", "resume", "dry_run", "evaluate", "record", "progress", "download", "plot"),
    "begun_with",
}

Values = dict[str, Any]


def train(
    main: Callable[..., Results], recipe: str, values: Values, given: set[str], command: str
) -> tuple[Results, Path | None]:
    """Run a recipe as its options say.

    Args:
        main: the recipe's.
        recipe: its name, or the path of its script.
        values: all options by name.
        given: the names of those that were given, not left at their defaults.
        command: what the shell ran, for the sentence that says how to go on.

    Returns:
        What the recipe found, and the run folder.

    Raises:
        RunInterruptedError: if a signal ended the run; it says how to go on.
    """
    with ExitStack() as held, _unwinding():
        # of several ranks only the first looks at folders, which it alone writes
        values = on_first(lambda: _prepared(main, recipe, values, given, held))
        settings, options = _split(main, recipe, values)
        try:
            return main(settings, **options), settings.out
        except KeyboardInterrupt as stopped:
            raise _interrupted(stopped, settings.out, command) from None


@contextmanager
def _unwinding() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does, so that nothing half-made is left."""

    def end(number: int, frame: object) -> None:
        del frame
        msg = "ended by SIGTERM."
        raise RunInterruptedError(msg, number)

    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupted(stopped: KeyboardInterrupt, out: Path | None, command: str) -> KeyboardInterrupt:
    """Return the interruption with what it left, and how to go on from there."""
    number = stopped.signal if isinstance(stopped, RunInterruptedError) else signal.SIGINT
    if out is None or not runs_in(out):
        return RunInterruptedError("interrupted; nothing was kept.", number)
    at, _, resumes = str(stopped).partition("; resume with")
    if not resumes:
        at = f"interrupted by {signal.Signals(number).name}; what was saved is whole in {out}"
    alone = os.environ.get("WORLD_SIZE", "1") == "1"
    how = "go on" if alone else "go on, under the same launcher"
    return RunInterruptedError(f"{at}; {how}: {command} --out {out} --resume", number)


def _prepared(
    main: Callable[..., Results], recipe: str, values: Values, given: set[str], held: ExitStack
) -> Values:
    """Return the options with the run folder made, or with those that the run was begun with."""
    name = Path(recipe).stem
    values = dict(values)
    if len(given & ENDS) == 1:
        # the one that is given stands in place of the other
        values |= dict.fromkeys(ENDS - given)
    if _restarted() and values["out"] is not None and runs_in(values["out"]):
        values["resume"] = True
    if values["resume"]:
        values["out"] = values["out"] or latest_folder(name)
        return _as_begun(main, recipe, values, given)
    if values["dry_run"]:
        return values | {"out": None}
    return values | {"out": held.enter_context(reserved(name, values["out"]))}


def _restarted() -> bool:
    """Return whether torchrun started this process again after a rank of it had failed."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


def train_recipe(name: str, out: Path, *, progress: bool | Progress = True) -> Results:
    """Train a recipe with its defaults, on the data that needs no files.

    Args:
        name: of the recipe.
        out: the run folder.
        progress: what shows it.
    """
    main = load(name).main
    command = f"batchproof train {name}"
    values = _defaults(main) | {"out": out, "progress": progress}
    return train(main, name, values, set(), command)[0]


def evaluate_run(run: Path, data: Path | None = None, script: Path | None = None) -> Results:
    """Return what a run's recipe finds with the run's best weights.

    Args:
        run: the run folder.
        data: the data folder, where it is another than the run was trained on.
        script: the script that trained the run, where no recipe of batchproof did; it is run.

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
            f"{run} was trained by the script {recipe}; name it to have it run: --script {recipe}"
        )
    values = _defaults(module.main) | _recorded(module.main, record)
    values |= {"out": run, "evaluate": True}
    if data is not None:
        values["data"] = data
    settings, options = _split(module.main, recipe, values)
    results: Results = module.main(settings, **options)
    return results


def _as_begun(main: Callable[..., Results], recipe: str, values: Values, given: set[str]) -> Values:
    """Return the options that a run was begun with, and those given now where they may differ."""
    folder = values["out"]
    record = read_record(folder)
    if record["recipe"] != recipe:
        raise CheckpointError(
            f"the run in {folder} was trained by {record['recipe']}, not by {recipe}; go on with "
            "that, or train anew with another --out."
        )
    recorded = _recorded(main, record)
    chosen = given | (ENDS if given & ENDS else set())
    kept = {name: value for name, value in recorded.items() if name not in chosen}
    for name in sorted(given - FREE):
        if name in recorded and values[name] != recorded[name]:
            flag = f"--{name.replace('_', '-')}"
            raise CheckpointError(
                f"{flag} is {values[name]} but the run in {folder} was begun with "
                f"{recorded[name]}; leave {flag} out, or train anew with another --out."
            )
    return values | kept | {"begun_with": {name: recorded[name] for name in ENDS}}


def _recorded(main: Callable[..., Results], record: Mapping[str, Any]) -> Values:
    known = _defaults(main)
    found = {**record["settings"], **record["options"]}
    return {name: typed(main, name, value) for name, value in found.items() if name in known}


def _defaults(main: Callable[..., Results]) -> Values:
    settings = default_settings(main)
    shared = {field.name: getattr(settings, field.name) for field in fields(Settings)}
    return shared | {name: option.default for name, option in own_options(main).items()}


def _split(
    main: Callable[..., Results], recipe: str, values: Values
) -> tuple[Settings, dict[str, Any]]:
    """Return the Settings, which hold the record of them, and the recipe's own options."""
    own = own_options(main)
    options = {name: value for name, value in values.items() if name in own}
    shared = {name: value for name, value in values.items() if name not in own}
    shared["logger"] = tuple(shared["logger"])
    if shared["data"] is not None:
        shared["data"] = shared["data"].expanduser().resolve()
    recorded = {name: value for name, value in shared.items() if name not in UNRECORDED}
    record = {"recipe": recipe, "settings": _plain(recorded), "options": _plain(options)}
    return Settings(**shared | {"record": record}), options


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: str(value) if isinstance(value, Path) else value for name, value in values.items()
    }
