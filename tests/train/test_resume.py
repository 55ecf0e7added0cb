import errno
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, StackDataset, Subset, TensorDataset

import batchproof as bp
import killed_with_worker
from batchproof.data import Batches
from batchproof.train import Callback, RunFolder
from batchproof.train._outputs import _log
from small_runs import batches, classifier, samples, trainer

SCRIPT = Path(__file__).parent.parent / "support" / "killed_run.py"


def killed(*arguments):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout)


def test_a_run_killed_at_random_moments_logs_what_one_never_killed_logs(tmp_path):
    assert killed("at-random", tmp_path) >= 1


def test_a_run_killed_while_it_writes_resumes_as_if_it_had_not_been(tmp_path):
    assert killed("at-writes", tmp_path, 23) >= 4


class Stop(Exception):
    pass


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_step(self, position, result):
        if position.step == self.step:
            raise Stop


def dropping(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 3))


LOADERS = {
    "batches by index": lambda: batches(40, shuffle=True),
    "a list": lambda: [samples(8, seed) for seed in range(5)],
    "a shuffling DataLoader": lambda: DataLoader(
        TensorDataset(*samples(40)), batch_size=8, shuffle=True
    ),
    "a DataLoader with a generator": lambda: DataLoader(
        TensorDataset(*samples(40)),
        batch_size=8,
        shuffle=True,
        generator=torch.Generator().manual_seed(4),
    ),
}


@pytest.mark.parametrize("loader", LOADERS.values(), ids=LOADERS.keys())
@pytest.mark.parametrize("stop", [4, 8])
def test_resuming_within_an_epoch_draws_what_would_have_been_drawn(tmp_path, loader, stop):
    options = {"seed": 2, "log_every": 2, "checkpoint_every_steps": 3, "accumulate": 1}
    trainer(dropping(), run_dir=tmp_path / "whole", **options).fit(
        loader(), batches(9), max_epochs=3
    )
    cut = tmp_path / "cut"
    with pytest.raises(bp.SettingError, match="callback StopAt raised"):
        trainer(dropping(), run_dir=cut, callbacks=[StopAt(stop)], **options).fit(
            loader(), batches(9), max_epochs=3
        )
    history = trainer(dropping(seed=9), run_dir=cut, **options).fit(
        loader(), batches(9), max_epochs=3, resume=True
    )
    expect_alike(tmp_path / "whole", cut)
    assert history.records == RunFolder(cut).records()


def expect_alike(left, right):
    for name in ("metrics.jsonl", "metrics.csv"):
        assert (left / name).read_text() == (right / name).read_text()
    ours, theirs = RunFolder(left).weights("last"), RunFolder(right).weights("last")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


SCHEDULES = {
    "StepLR": (lambda o: torch.optim.lr_scheduler.StepLR(o, 1, gamma=0.5), "epoch"),
    "MultiStepLR": (lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [1, 2]), "epoch"),
    "OneCycleLR": (lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.2, total_steps=99), "step"),
    "ReduceLROnPlateau": (
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0, threshold=1.0),
        "epoch",
    ),
    "SequentialLR": (
        lambda o: torch.optim.lr_scheduler.SequentialLR(
            o,
            [
                torch.optim.lr_scheduler.ConstantLR(o),
                torch.optim.lr_scheduler.ExponentialLR(o, 0.9),
            ],
            [2],
        ),
        "step",
    ),
}


@pytest.mark.parametrize(("made", "per"), SCHEDULES.values(), ids=SCHEDULES.keys())
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_every_schedule_and_optimiser_is_resumed(tmp_path, made, per, kind):
    def fit(run_dir, epochs, **options):
        model = classifier()
        optimizer = kind(model.parameters(), lr=0.1)
        return trainer(
            model,
            optimizer=optimizer,
            scheduler=made(optimizer),
            scheduler_per=per,
            run_dir=run_dir,
            ema=0.5,
        ).fit(batches(24), batches(9), max_epochs=epochs, **options)

    whole = fit(tmp_path / "whole", 3)
    fit(tmp_path / "cut", 1)
    fit(tmp_path / "cut", 3, resume=True)
    expect_alike(tmp_path / "whole", tmp_path / "cut")
    assert len({record.value for record in whole.epochs("lr")}) > 1


def test_early_stopping_continues_its_count(tmp_path):
    options = {"lr": 1e-30, "patience": 3, "run_dir": tmp_path / "run"}
    trainer(**options).fit(batches(8), batches(8), max_epochs=2)
    history = trainer(**options).fit(batches(8), batches(8), max_epochs=50, resume=True)
    assert len(history.epochs("val_loss")) == 4


def test_a_run_that_is_over_stays_over(tmp_path):
    first = trainer(run_dir=tmp_path / "run").fit(batches(8), max_epochs=2)
    again = trainer(run_dir=tmp_path / "run").fit(batches(8), max_epochs=2, resume=True)
    assert again.records == first.records


def test_resume_begins_a_run_that_is_not_there_yet(tmp_path):
    trainer(run_dir=tmp_path / "run").fit(batches(8), max_epochs=1, resume=True)
    assert RunFolder(tmp_path / "run").records()


class Drawn:
    """Batches of an iterable of one's own."""

    def __init__(self, inner):
        self.inner = inner

    def __iter__(self):
        return iter(self.inner)

    def __len__(self):
        return len(self.inner)


def begun(run_dir, train=None, **options):
    trainer(run_dir=run_dir, **options).fit(train or batches(16), batches(9), max_epochs=2)


def goes_on(run_dir, train=None, val=None, **options):
    trainer(run_dir=run_dir, **options).fit(
        train or batches(16), val or batches(9), max_epochs=3, resume=True
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"accumulate": 2}, "settings.accumulate was 1 and is 2"),
        ({"lr": 0.2}, r"optimizer.groups was .*"),
        ({"model": nn.Linear(4, 3)}, "model.class was 'Sequential' and is 'Linear'"),
        ({"train": list(batches(16, seed=5))}, "training data.content was '.*' and is '.*'"),
        ({"train": batches(16, batch_size=4)}, "training data.batches was 2 and is 4"),
        ({"val": batches(10)}, "validation data.samples was 9 and is 10"),
        ({"config": {"dropout": 0.1}}, "config.dropout was absent and is 0.1"),
    ],
)
def test_what_differs_from_the_run_is_named(tmp_path, options, text):
    begun(tmp_path / "run")
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    with pytest.raises(bp.CheckpointError, match=rf"holds another run: .*{text}"):
        goes_on(tmp_path / "run", **options)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


def ending_otherwise(values):
    values = values.clone()
    values[-1] += 1
    return values


def held_in_memory(kind, inputs, targets):
    """Return a loader over samples in memory, in some form that torch has for them."""
    data = TensorDataset(inputs, targets)
    whole = {
        "tensors": data,
        "list": [data[index] for index in range(len(data))],
        "subset": Subset(TensorDataset(inputs.flip(0), targets.flip(0)), range(15, -1, -1)),
        "concatenated": ConcatDataset([Subset(data, range(9)), Subset(data, range(9, 16))]),
        "stacked": StackDataset(inputs, targets),
    }
    if kind == "batches":
        return [(inputs[i : i + 2], targets[i : i + 2]) for i in range(0, 16, 2)]
    if kind == "in memory":
        return Batches(inputs, targets, batch_size=2)
    return DataLoader(whole[kind], batch_size=2)


@pytest.mark.parametrize("where", ["train", "val"])
@pytest.mark.parametrize(
    "kind", ["tensors", "list", "subset", "concatenated", "stacked", "batches", "in memory"]
)
def test_data_that_differ_after_the_first_batch_are_another_run(tmp_path, kind, where):
    inputs, targets = samples(16)
    same, other = (
        held_in_memory(kind, each, targets) for each in (inputs, ending_otherwise(inputs))
    )
    run = {"run_dir": tmp_path / "run"}
    trainer(**run).fit(same, same, max_epochs=1)
    data = {"train": same, "val": same} | {where: other}
    with pytest.raises(bp.CheckpointError, match=r"(training|validation) data.content was '.*'"):
        trainer(**run).fit(data["train"], data["val"], max_epochs=2, resume=True)
    trainer(**run).fit(held_in_memory(kind, inputs, targets), same, max_epochs=2, resume=True)


def test_of_an_iterable_of_ones_own_the_first_batch_is_compared(tmp_path):
    begun(tmp_path / "run", train=Drawn(batches(16)))
    with pytest.raises(bp.CheckpointError, match=r"first batch was '.*' and is '.*'"):
        goes_on(tmp_path / "run", Drawn(batches(16, seed=5)))
    goes_on(tmp_path / "run", Drawn(batches(16)))


class Read(Dataset):
    """Samples that are read when they are asked for, and their count."""

    def __init__(self):
        self.inputs, self.targets = samples(16)
        self.draws = 0

    def __len__(self):
        return 16

    def __getitem__(self, index):
        self.draws += 1
        return self.inputs[index], self.targets[index]


def test_comparing_data_sets_draws_no_sample_of_one_with_code_of_its_own(tmp_path):
    data = Read()
    trainer(run_dir=tmp_path / "run").fit(DataLoader(data, batch_size=8), max_epochs=1)
    drawn = data.draws
    trainer(run_dir=tmp_path / "run").fit(DataLoader(data, batch_size=8), max_epochs=1, resume=True)
    # the first batch is compared, and no other
    assert data.draws - drawn == 8


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-20])


def altered(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut_short, altered, Path.unlink])
@pytest.mark.parametrize("name", ["state.pt", "weights.safetensors", "digests.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, damage, name):
    trainer(run_dir=tmp_path / "whole").fit(batches(16), batches(9), max_epochs=3)
    run = tmp_path / "run"
    begun(run)
    damage(run / "last" / name)
    history = trainer(run_dir=run).fit(batches(16), batches(9), max_epochs=3, resume=True)
    assert len(history.notices) == 1
    assert str(run / "last") in history.notices[0]
    assert "resuming from" in history.notices[0]
    expect_alike(tmp_path / "whole", run)


def test_a_run_without_a_whole_checkpoint_is_refused(tmp_path):
    begun(tmp_path / "run")
    for name in ("last", "previous"):
        cut_short(tmp_path / "run" / name / "state.pt")
    with pytest.raises(bp.CheckpointError, match=r"no whole checkpoint: .*last/state.pt was cut"):
        goes_on(tmp_path / "run")


def test_a_log_that_is_shorter_than_its_checkpoint_is_refused(tmp_path):
    begun(tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").write_text("")
    with pytest.raises(bp.CheckpointError, match="shorter than its checkpoint says"):
        goes_on(tmp_path / "run")


class Interrupt(Callback):
    def __init__(self, step, number):
        self.step, self.number = step, number

    def on_step(self, position, result):
        if position.step == self.step:
            os.kill(os.getpid(), self.number)


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        history = trainer(callbacks=[Interrupt(1, signal.SIGINT)]).fit(batches(), max_epochs=1)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert history.stopped == "max_epochs reached (1)"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_resume(tmp_path, number):
    trainer(dropping(), run_dir=tmp_path / "whole", seed=1).fit(
        batches(40, shuffle=True), batches(9), max_epochs=2
    )
    run = tmp_path / "run"
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(bp.RunInterruptedError, match=r"after step 3; saved in .*resume") as caught:
        trainer(dropping(), run_dir=run, seed=1, callbacks=[Interrupt(3, number)]).fit(
            batches(40, shuffle=True), batches(9), max_epochs=2
        )
    assert caught.value.signal == number
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
    trainer(dropping(), run_dir=run, seed=1).fit(
        batches(40, shuffle=True), batches(9), max_epochs=2, resume=True
    )
    expect_alike(tmp_path / "whole", run)


class Drawing:
    """Validation batches that draw from torch's generator; a signal comes with the second."""

    samples, batch_size = 40, 8

    def __init__(self, number=None):
        self.number, self.drawn = number, 0

    def __len__(self):
        return 5

    def __iter__(self):
        for x, y in batches(40):
            self.drawn += 1
            if self.number is not None and self.drawn == 2:
                os.kill(os.getpid(), self.number)
            yield x + 0.1 * torch.randn(x.shape), y


def test_a_signal_during_validation_is_obeyed_at_once(tmp_path):
    def fit(folder, val, **options):
        trainer(dropping(), run_dir=tmp_path / folder, seed=1).fit(
            batches(24, shuffle=True), val, max_epochs=2, **options
        )

    fit("whole", Drawing())
    interrupting = Drawing(signal.SIGTERM)
    with pytest.raises(bp.RunInterruptedError):
        fit("run", interrupting)
    assert interrupting.drawn == 2
    fit("run", Drawing(), resume=True)
    expect_alike(tmp_path / "whole", tmp_path / "run")


def test_a_signal_without_a_run_folder_says_that_nothing_was_saved():
    with pytest.raises(bp.RunInterruptedError, match="nothing was saved, for no run_dir"):
        trainer(callbacks=[Interrupt(1, signal.SIGINT)]).fit(batches(), max_epochs=1)


UNLIMITED = resource.getrlimit(resource.RLIMIT_FSIZE)


class Full(Callback):
    """Lets no file grow beyond a size: a write that the system refuses, as on a full disk."""

    def __init__(self, size):
        self.size = size

    def on_times(self, times):
        if times.get("epoch") == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, UNLIMITED[1]))


def wide():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4000), nn.Tanh(), nn.Linear(4000, 3))


@pytest.mark.parametrize(
    ("size", "file"), [(50_000, "weights.safetensors"), (129_500, "state.pt")], ids=str
)
def test_a_full_disk_stops_the_run_with_what_was_saved_whole(tmp_path, size, file):
    run = tmp_path / "run"
    weights = 32_003 * 4
    assert (size < weights) == (file == "weights.safetensors")
    text = r"cannot save to .*: file too large; step 2 is safe in .*last; free some space"
    try:
        with pytest.raises(bp.RunStoppedError, match=text):
            trainer(wide(), run_dir=run, callbacks=[Full(size)]).fit(batches(16), max_epochs=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, UNLIMITED)
    assert not list(run.glob(".*"))
    trainer(wide(), run_dir=run).fit(batches(16), max_epochs=3, resume=True)
    trainer(wide(), run_dir=tmp_path / "whole").fit(batches(16), max_epochs=3)
    expect_alike(tmp_path / "whole", run)


def test_a_run_that_another_process_writes_to_is_refused(tmp_path):
    run = tmp_path / "run"

    class Second(Callback):
        def on_step(self, position, result):
            with pytest.raises(bp.RunFolderError, match="another process is training in"):
                trainer(run_dir=run).fit(batches(8), max_epochs=1, resume=True)

    trainer(run_dir=run, callbacks=[Second()]).fit([samples(4)], max_epochs=1)


def test_resume_names_what_cannot_be_resumed(tmp_path):
    with pytest.raises(bp.RunFolderError, match="there is nothing to resume"):
        trainer().fit(batches(), max_epochs=1, resume=tmp_path / "nowhere")
    with pytest.raises(bp.SettingError, match="run_dir, but it is None"):
        trainer().fit(batches(), max_epochs=1, resume=True)
    with pytest.raises(bp.SettingError, match="leave one of them out"):
        trainer(run_dir=tmp_path / "a").fit(batches(), max_epochs=1, resume=tmp_path / "b")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "file").touch()
    with pytest.raises(bp.RunFolderError, match=r"holds no run \(neither config.json nor"):
        trainer().fit(batches(), max_epochs=1, resume=tmp_path / "text")


def test_a_state_that_only_code_could_load_is_refused_before_it_is_needed(tmp_path):
    class Odd(torch.optim.SGD):
        def state_dict(self):
            return {**super().state_dict(), "odd": Path("x")}

    model = classifier()
    odd = Odd(model.parameters(), lr=0.1)
    with pytest.raises(bp.CheckpointError, match="holds values that only running code could load"):
        trainer(model, optimizer=odd, run_dir=tmp_path / "run").fit(batches(8), max_epochs=1)


def test_times_are_kept_apart_from_the_log(tmp_path):
    begun(tmp_path / "run")
    with (tmp_path / "run" / "timing.jsonl").open("a") as file:
        file.write('{"cut": "sho')
    goes_on(tmp_path / "run")
    entries = RunFolder(tmp_path / "run").timing()
    assert [entry.get("epoch") for entry in entries] == [1, 2, None, None, 3, None]
    assert entries[2] == {"stopped": "max_epochs reached (2)"}
    assert entries[0]["step"] == 2
    assert entries[3]["resumed at step"] == 4
    parts = [value for name, value in entries[0].items() if name.endswith("_seconds")]
    assert 0 < sum(parts) <= entries[0]["seconds"]
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert all("seconds" not in json.loads(line) for line in lines)


def test_a_run_is_resumed_at_once_while_a_worker_of_the_killed_process_lives(tmp_path):
    run, note = tmp_path / "run", tmp_path / "worker"
    script = SCRIPT.with_name("killed_with_worker.py")
    done = subprocess.run(
        [sys.executable, str(script), str(run), str(note)], timeout=120, check=False
    )
    assert done.returncode == -signal.SIGKILL
    worker = int(note.read_text())
    try:
        os.kill(worker, 0)
        killed_with_worker.train(run, note, 0, [])
        os.kill(worker, 0)
    finally:
        os.kill(worker, signal.SIGKILL)
    assert [r.epoch for r in RunFolder(run).records() if r.name == "train_loss"] == [1, 2, 3]
    assert not (run / ".lock").exists()


def resumed(run, **options):
    return trainer(run_dir=run, **options).fit(batches(16), batches(9), max_epochs=3, resume=True)


def with_other_digits(text):
    return text.replace('"samples": 9', '"samples": 8', 1)


def with_a_bit_flipped(text):
    return text.replace('"total"', '"tot`l"', 1)


@pytest.mark.parametrize(
    ("alter", "line"),
    [
        (with_other_digits, 4),
        (with_a_bit_flipped, 1),
        (lambda text: text.replace("\n", "\n\n", 2), 2),
        (lambda text: "[1, 2]" + " " * 100 + text, 1),
        (lambda text: "[" * 1_500 + "\n" + text, 1),
    ],
    ids=["digits", "a bit", "empty lines", "a list", "deep"],
)
def test_a_log_that_was_altered_is_refused_by_its_line(tmp_path, alter, line):
    run = tmp_path / "run"
    begun(run)
    log = run / "metrics.jsonl"
    whole = log.read_text()
    log.write_text(alter(whole))
    with pytest.raises(bp.CheckpointError, match=rf"^line {line} of {log} (was altered|is not a)"):
        resumed(run)
    log.write_text(whole)
    resumed(run)


def test_a_log_that_is_no_text_or_ends_within_a_line_is_refused(tmp_path):
    run = tmp_path / "run"
    begun(run)
    log = run / "metrics.jsonl"
    whole = log.read_bytes()
    log.write_bytes(b"\xff" + whole[1:])
    with pytest.raises(bp.CheckpointError, match=rf"^line 1 of {log} is not a record"):
        resumed(run)
    lines = whole.count(b"\n")
    log.write_bytes(whole[:-1] + b"\0")
    with pytest.raises(bp.CheckpointError, match=rf"^line {lines} of {log} was cut short"):
        resumed(run)


def test_a_log_that_was_altered_along_with_its_table_is_refused(tmp_path):
    run = tmp_path / "run"
    begun(run)
    for name, old, new in (
        ("metrics.jsonl", '"samples": 9', '"samples": 8'),
        ("metrics.csv", ",9,", ",8,"),
    ):
        path = run / name
        path.write_text(path.read_text().replace(old, new))
    with pytest.raises(
        bp.CheckpointError, match=r"^a line of the first \d+ of .*jsonl was altered"
    ):
        resumed(run)


def test_a_checkpoint_of_an_older_version_has_no_digest_of_the_log_and_is_resumed(tmp_path):
    run = tmp_path / "run"
    begun(run)
    path = run / "last" / "state.pt"
    state = torch.load(path, weights_only=True)
    del state["log digest"]
    for purpose in ("training data", "validation data"):
        del state["identity"][purpose]["content"]
    for rank in state["ranks"]:
        del rank["own of validations"], rank["own of loss"]
    torch.save(state, path)
    digests = json.loads((run / "last" / "digests.json").read_text())
    digests["state.pt"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (run / "last" / "digests.json").write_text(json.dumps(digests))
    history = resumed(run)
    assert not history.notices
    assert len(history.epochs("val_loss")) == 3


def test_a_log_that_is_emptied_while_the_run_writes_to_it_stops_the_run(tmp_path):
    run = tmp_path / "run"

    class Empty(Callback):
        def on_epoch(self, position, history):
            (run / "metrics.jsonl").write_text("")

    with pytest.raises(bp.RunStoppedError, match="was altered while the run was writing to it"):
        trainer(run_dir=run, callbacks=[Empty()]).fit(batches(16), max_epochs=3)


@pytest.mark.parametrize("name", ["metrics.jsonl", "timing.jsonl"])
@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path, name, kind):
    run = tmp_path / "run"
    begun(run)
    victim = (run / name).rename(tmp_path / "elsewhere")
    before = victim.read_bytes()
    os.mkfifo(run / name) if kind == "pipe" else (run / name).symlink_to(victim)
    with pytest.raises(bp.CheckpointError, match=rf"{name} cannot be read: is "):
        resumed(run)
    assert victim.read_bytes() == before


def test_the_table_is_not_written_through_a_link(tmp_path):
    run, victim = tmp_path / "run", tmp_path / "victim"
    begun(run)
    victim.write_text("mine")
    (run / "metrics.csv").unlink()
    (run / "metrics.csv").symlink_to(victim)
    resumed(run)
    assert victim.read_text() == "mine"
    assert not (run / "metrics.csv").is_symlink()
    assert (run / "metrics.csv").read_text().count("\n") == len(RunFolder(run).records()) + 1


def test_a_link_that_is_put_in_the_place_of_the_table_stops_the_run(tmp_path):
    run, victim = tmp_path / "run", tmp_path / "victim"
    victim.write_text("mine")

    class Link(Callback):
        def on_epoch(self, position, history):
            (run / "metrics.csv").unlink()
            (run / "metrics.csv").symlink_to(victim)

    with pytest.raises(bp.RunStoppedError, match="remove the link that is in the place of a file"):
        trainer(run_dir=run, callbacks=[Link()]).fit(batches(16), max_epochs=3)
    assert victim.read_text() == "mine"


def refusing(number):
    """A write of the log that the system refuses."""

    def refuse(self, name, text):
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EACCES, "make it writable"),
        (errno.EROFS, "make it writable"),
        (errno.EMFILE, r"raise the limit of open files \(ulimit -n\)"),
        (errno.EIO, "find out what the system refuses"),
    ],
    ids=errno.errorcode.get,
)
def test_the_remedy_is_that_of_what_the_system_refuses(tmp_path, monkeypatch, number, remedy):
    class Refuse(Callback):
        def on_epoch(self, position, history):
            monkeypatch.setattr(_log.LogFiles, "_append", refusing(number))

    text = rf"cannot write to .*; step 2 is safe in .*last; {remedy} and resume: resume=True"
    with pytest.raises(bp.RunStoppedError, match=text):
        trainer(run_dir=tmp_path / "run", callbacks=[Refuse()]).fit(batches(16), max_epochs=3)


def test_a_run_that_may_not_be_written_names_no_step_that_it_has_not_read(tmp_path, monkeypatch):
    run = tmp_path / "run"
    begun(run)

    def refuse(folder):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(_log, "locked", refuse)
    text = r"cannot resume in .*: permission denied; .*last is as it was; make it writable and res"
    with pytest.raises(bp.RunStoppedError, match=text):
        resumed(run)


def test_a_run_whose_folder_is_deleted_ends_with_what_can_be_done(tmp_path):
    run = tmp_path / "run"

    class Delete(Callback):
        def on_epoch(self, position, history):
            run.rename(tmp_path / "moved")

    with pytest.raises(bp.RunFolderError, match=r"no such file.*; move it back to its place, or"):
        trainer(run_dir=run, callbacks=[Delete()]).fit(batches(16), max_epochs=3)
