"""Validations within epochs, of several data, on streams; the ends of training; what is kept."""

import json
import math
import re
import signal
import traceback
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

import batchproof as bp
from batchproof.meter import F1
from batchproof.train import Callback, RunFolder
from small_runs import batches, classifier, samples, trainer

SOURCES = str(Path(bp.__file__).parent)
EVERY = {"validate_every_steps": 3}


class Stream(IterableDataset):
    """Samples without an end, whose number nobody knows."""

    def __iter__(self):
        while True:
            yield from zip(*samples(24), strict=True)


def stream():
    return DataLoader(Stream(), batch_size=8)


def steps_of(history, name="val_loss"):
    return [record.step for record in history.epochs(name)]


def test_a_validation_comes_every_so_many_steps_and_at_the_end():
    history = trainer(**EVERY).fit(batches(40), batches(9), max_epochs=2)
    assert steps_of(history) == [3, 6, 9, 10]
    assert steps_of(history, "train_loss") == [5, 10]
    assert [row["step"] for row in history.table()] == [3, 5, 6, 9, 10]
    assert str(history.choice).startswith("best: step 10, val_loss")
    assert str(history).startswith(" step")
    assert "step" in history._repr_html_()


def test_a_validation_within_an_epoch_is_that_of_the_weights_at_its_step():
    losses = []

    class Measures(Callback):
        def on_step(self, position, result):
            if position.step == 3:
                losses.append(measured.evaluate(batches(9)).value)

    measured = trainer(callbacks=[Measures()], **EVERY)
    history = measured.fit(batches(40), batches(9), max_epochs=1)
    assert history.values("val_loss")[0] == losses[0]
    plain = trainer().fit(batches(40), batches(9), max_epochs=1)
    assert plain.values("train_loss") == history.values("train_loss")
    assert plain.values("val_loss") == history.values("val_loss")[-1:]


def test_a_stream_is_validated_and_its_best_chosen_within_max_steps():
    history = trainer(patience=2, **EVERY).fit(stream(), batches(9), max_steps=10)
    assert steps_of(history) == [3, 6, 9, 10]
    assert not history.notices
    worse = trainer(lr=1e-30, patience=2, **EVERY).fit(stream(), batches(9), max_steps=50)
    assert steps_of(worse) == [3, 6, 9]
    assert worse.stopped == "no better val_loss for 2 validations (best after step 3)"


def test_the_best_state_is_that_of_the_best_validation(tmp_path):
    fitted = trainer(run_dir=tmp_path / "run", **EVERY)
    history = fitted.fit(batches(40), batches(9), max_epochs=2)
    fitted.load_weights(history.best_state())
    assert fitted.evaluate(batches(9)).value == history.best.value
    assert RunFolder(tmp_path / "run").best() == history.best


def test_a_plateau_is_looked_for_at_every_validation():
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    trainer(model, optimizer=optimizer, scheduler=plateau, **EVERY).fit(
        stream(), batches(9), max_steps=9
    )
    assert optimizer.param_groups[0]["lr"] == 0.25e-5


def test_several_validation_data_are_measured_by_name():
    val = {"clean": batches(9), "noisy": batches(17, seed=3)}
    fitted = trainer(monitor="val_noisy_loss", metrics={"f1": F1()})
    history = fitted.fit(batches(40), val, max_epochs=2)
    for name, loader in val.items():
        assert history.last(f"val_{name}_loss").value == fitted.evaluate(loader).value
        assert history.last(f"val_{name}_f1").value == float(fitted.evaluate(loader).scores["f1"])
    assert history.best.name == "val_noisy_loss"


def test_names_of_validation_data_are_looked_at_before_training():
    val = {"clean": batches(9)}
    with pytest.raises(bp.SettingError, match="expected one that starts with val_clean_, such as"):
        trainer().fit(batches(), val, max_epochs=1)
    with pytest.raises(bp.SettingError, match="val has the name 'a b'; expected words"):
        trainer().fit(batches(), {"a b": batches(9)}, max_epochs=1)
    with pytest.raises(bp.SettingError, match="val is an empty mapping, so nothing would be val"):
        trainer().fit(batches(), {}, max_epochs=1)


def test_what_is_wrong_with_validation_data_names_them():
    x, y = samples(9)
    with pytest.raises(bp.NonFiniteError, match=r"^in the validation data noisy, the loss is not"):
        trainer(monitor="val_clean_loss").fit(
            batches(), {"clean": batches(9), "noisy": [(x * math.nan, y)]}, max_epochs=1
        )
    with pytest.raises(bp.DataError, match=r"^in the validation data, the loader gave no b"):
        trainer().fit(batches(), [], max_epochs=1)


def test_max_time_ends_a_run_between_two_steps_with_its_reason(tmp_path):
    run = tmp_path / "run"
    history = trainer(run_dir=run).fit(batches(40), batches(9), max_time=1e-6)
    assert history.stopped == "max_time reached (0:00:00.000001)"
    assert steps_of(history) == [1]
    assert RunFolder(run).timing()[-1] == {"stopped": history.stopped}
    assert history.records[-1].epoch == 1
    again = trainer(run_dir=run).fit(batches(40), batches(9), max_epochs=1, resume=True)
    assert steps_of(again) == [1, 5]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("given", [0, -1.0, math.inf, math.nan, timedelta(0), "10"])
def test_a_time_that_is_no_time_is_refused(given):
    text = f"max_time is {given!r}; expected seconds above 0"
    with pytest.raises(bp.SettingError, match=re.escape(text)):
        trainer().fit(batches(), max_time=given)


def test_a_callback_stops_a_run_with_a_reason(tmp_path):
    class Enough(Callback):
        def on_step(self, position, result):
            return "enough" if position.step == 3 else None

    run = tmp_path / "run"
    history = trainer(run_dir=run, callbacks=[Enough()]).fit(batches(40), batches(9), max_epochs=2)
    assert history.stopped == "enough"
    assert steps_of(history) == [3]
    assert RunFolder(run).timing()[-1] == {"stopped": "enough"}


def test_a_callback_that_raises_or_returns_nonsense_is_named_in_one_line():
    class Raises(Callback):
        def on_validation(self, position, records):
            raise ValueError("no\n good")

    class Returns(Callback):
        def on_epoch(self, position, history):
            return True

    text = "^callback Raises raised in on_validation: ValueError: no good$"
    with pytest.raises(bp.SettingError, match=text):
        trainer(callbacks=[Raises()]).fit(batches(16), batches(9), max_epochs=1)
    with pytest.raises(bp.SettingError, match="callback Returns returned True from on_epoch; exp"):
        trainer(callbacks=[Returns()]).fit(batches(16), batches(9), max_epochs=1)


def test_a_callback_hears_of_windows_validations_and_checkpoints(tmp_path):
    heard = []

    class Hears(Callback):
        def on_window(self, position, window):
            heard.append(("window", position.step, len(window)))

        def on_validation(self, position, records):
            heard.append(("validation", position.step, records[0].name))

        def on_checkpoint(self, position, folder):
            assert folder.is_dir()
            heard.append(("checkpoint", position.step, folder.name))

    trainer(run_dir=tmp_path / "run", accumulate=2, callbacks=[Hears()]).fit(
        batches(40), batches(9), max_epochs=1
    )
    assert heard == [
        ("window", 0, 2),
        ("window", 1, 2),
        ("window", 2, 1),
        ("validation", 3, "val_loss"),
        ("checkpoint", 3, "best"),
        ("checkpoint", 3, "last"),
    ]


def test_the_best_weights_and_those_that_stay_are_kept(tmp_path):
    run = tmp_path / "run"
    options = {"keep_best": 2, "keep_every_steps": 4, "validate_every_steps": 1}
    fitted = trainer(run_dir=run, lr=1.0, **options)
    history = fitted.fit(batches(40), batches(9), max_epochs=2)
    best = [record.step for record in history.best_of(2)]
    assert RunFolder(run).kept() == sorted({*best, 4, 8})
    kept = RunFolder(run).weights(best[1])
    fitted.load_weights(kept)
    assert fitted.evaluate(batches(9)).value == history.best_of(2)[1].value
    record = json.loads((run / "kept" / f"step-{best[1]}" / "record.json").read_text())
    assert record["total"] == history.best_of(2)[1].total
    with pytest.raises(bp.CheckpointError, match="keeps no weights of step 99; it keeps those of"):
        RunFolder(run).weights(99)


def test_what_is_kept_needs_a_run_folder():
    with pytest.raises(bp.SettingError, match="weights are to be kept, but run_dir is None"):
        trainer(keep_best=2).fit(batches(), batches(9), max_epochs=1)
    with pytest.raises(bp.SettingError, match="keep_best is -1; expected a whole number, 0 or mor"):
        trainer(keep_best=-1)


class RaisesAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_step(self, position, result):
        if position.step == self.step:
            raise ValueError


class SignalsAt(Callback):
    """Sends a signal in the validation after a step."""

    def __init__(self, step):
        self.step, self.at = step, 0

    def on_step(self, position, result):
        self.at = position.step

    def on_validation_batch(self):
        if self.at == self.step:
            signal.raise_signal(signal.SIGTERM)


def shuffling():
    generator = torch.Generator().manual_seed(4)
    data = torch.utils.data.TensorDataset(*samples(9))
    return DataLoader(data, batch_size=4, shuffle=True, generator=generator)


@pytest.mark.parametrize("stop", [RaisesAt(4), RaisesAt(7), SignalsAt(3), SignalsAt(6)])
@pytest.mark.parametrize("train", [stream, lambda: batches(40, shuffle=True)])
def test_a_run_that_was_left_anywhere_resumes_as_if_it_had_not_been(tmp_path, stop, train):
    def fit(run, callbacks=(), **options):
        return trainer(
            run_dir=run,
            callbacks=list(callbacks),
            checkpoint_every_steps=2,
            keep_best=2,
            keep_every_steps=5,
            log_every=2,
            patience=20,
            monitor="val_a_f1",
            mode="max",
            metrics={"f1": F1()},
            seed=3,
            **EVERY,
        ).fit(train(), {"a": shuffling(), "b": batches(9)}, max_steps=11, **options)

    whole = fit(tmp_path / "whole")
    with pytest.raises((bp.SettingError, bp.RunInterruptedError)):
        fit(tmp_path / "cut", [stop])
    resumed = fit(tmp_path / "cut", resume=True)
    runs = [tmp_path / name for name in ("whole", "cut")]
    logs = [(run / "metrics.jsonl").read_bytes() for run in runs]
    assert logs[0] == logs[1]
    assert resumed.best == whole.best
    assert steps_of(resumed, "val_a_loss") == [3, 6, 9, 11]
    ours, theirs = (RunFolder(run).weights("best") for run in runs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert RunFolder(runs[0]).kept() == RunFolder(runs[1]).kept()


class Counts(Callback):
    """Counts events and adds up what was measured; a checkpoint keeps both."""

    def __init__(self):
        self.events, self.total = {}, torch.zeros(1)

    def count(self, event):
        self.events[event] = self.events.get(event, 0) + 1

    def on_window(self, position, window):
        self.count("windows")

    def on_step(self, position, result):
        self.total += result.loss.detach().value()

    def on_validation_batch(self):
        self.count("batches")

    def on_validation(self, position, records):
        self.total += records[0].value

    def on_records(self, records):
        self.count("records")

    def on_epoch(self, position, history):
        self.count("epochs")

    def state_dict(self):
        return {"events": self.events, "total": self.total}

    def load_state_dict(self, state):
        self.events, self.total = state["events"], state["total"]


class SignalsAfterEpoch(Callback):
    """Sends a signal when the validation at the end of the first epoch begins."""

    def on_validation_begin(self, batches):
        signal.raise_signal(signal.SIGINT)


class Fails(Callback):
    """Raises when a validation begins."""

    def on_validation_begin(self, batches):
        raise ValueError


@pytest.mark.parametrize("stop", [RaisesAt(4), RaisesAt(7), SignalsAt(5), SignalsAt(10), Fails()])
def test_what_a_callback_counts_is_resumed_exactly(tmp_path, stop):
    def fit(run, callbacks, **options):
        trainer(run_dir=run, callbacks=callbacks, checkpoint_every_steps=2, log_every=2).fit(
            batches(40), batches(9), max_epochs=3, **options
        )

    whole, resumed = Counts(), Counts()
    fit(tmp_path / "whole", [whole])
    with pytest.raises((bp.SettingError, bp.RunInterruptedError)):
        fit(tmp_path / "cut", [Counts(), stop])
    fit(tmp_path / "cut", [resumed], resume=True)
    assert resumed.events == whole.events
    assert whole.events["epochs"] == 3
    assert torch.equal(resumed.total, whole.total)


def test_a_checkpoint_of_an_epoch_has_what_callbacks_hold_after_it(tmp_path):
    trainer(run_dir=tmp_path / "run", callbacks=[Counts()]).fit(batches(40), max_epochs=2)
    last = Counts()
    history = trainer(run_dir=tmp_path / "run", callbacks=[last]).fit(
        batches(40), max_epochs=2, resume=True
    )
    assert last.events["epochs"] == len(history.epochs("train_loss")) == 2


def test_callbacks_of_one_class_keep_their_states_apart(tmp_path):
    class Keeps(Callback):
        def __init__(self, value):
            self.value = value

        def state_dict(self):
            return self.value

        def load_state_dict(self, state):
            self.value = state

    first, second = Keeps({}), Keeps({"a": [1, (2.5, "b", None)]})
    trainer(run_dir=tmp_path / "run", callbacks=[first, second]).fit(batches(), max_epochs=1)
    one, between, other = Keeps({"no": 1}), Counts(), Keeps({})
    resumed = trainer(run_dir=tmp_path / "run", callbacks=[one, between, other])
    assert not resumed.fit(batches(), max_epochs=1, resume=True).notices
    assert (one.value, other.value) == (first.value, second.value)
    assert between.events == {}
    fewer = trainer(run_dir=tmp_path / "run", callbacks=[Keeps({})])
    (notice,) = fewer.fit(batches(), max_epochs=1, resume=True).notices
    assert notice.startswith("the checkpoint has a state of Keeps, but no callback of that class")


@pytest.mark.parametrize("state", [{"value": object()}, {"value": len}, {"path": Path()}])
def test_a_state_of_a_callback_that_could_not_be_loaded_is_refused_at_once(tmp_path, state):
    class Holds(Callback):
        def state_dict(self):
            return state

        def load_state_dict(self, state):
            raise AssertionError

    with pytest.raises(bp.SettingError, match="callback Holds returned from state_dict what a ch"):
        trainer(run_dir=tmp_path / "run", callbacks=[Holds()]).fit(batches(), max_epochs=1)
    assert not (tmp_path / "run").exists()


def test_a_callback_that_raises_over_its_state_is_named_in_one_line(tmp_path):
    class Raises(Callback):
        fails = True

        def state_dict(self):
            return {} if not self.fails else {}["a"]

        def load_state_dict(self, state):
            raise KeyError("b")

    with pytest.raises(bp.SettingError, match="Raises raised in state_dict: KeyError: 'a'"):
        trainer(callbacks=[Raises()]).fit(batches(), max_epochs=1)
    Raises.fails = False
    run = {"run_dir": tmp_path / "run", "callbacks": [Raises()]}
    trainer(**run).fit(batches(), max_epochs=1)
    with pytest.raises(bp.SettingError, match="Raises raised in load_state_dict: KeyError: 'b'"):
        trainer(**run).fit(batches(), max_epochs=2, resume=True)


@pytest.mark.parametrize("stop", [SignalsAfterEpoch(), Fails()])
@pytest.mark.parametrize("train", [stream, lambda: batches(40)])
@pytest.mark.parametrize("end", [5, 7])
def test_an_epoch_that_was_left_after_its_last_step_is_closed_when_resumed(
    tmp_path, stop, train, end
):
    def fit(run, callbacks=(), **options):
        return trainer(
            run_dir=run, callbacks=list(callbacks), checkpoint_every_steps=1, seed=3
        ).fit(train(), shuffling(), max_steps=end, **options)

    whole = fit(tmp_path / "whole")
    for _ in range(3):
        with pytest.raises((bp.SettingError, bp.RunInterruptedError)):
            fit(tmp_path / "cut", [stop], resume=True)
    resumed = fit(tmp_path / "cut", resume=True)
    logs = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "cut")]
    assert logs[0] == logs[1]
    assert resumed.best == whole.best
    assert resumed.stopped == whole.stopped
    assert fit(tmp_path / "cut", resume=True).records == whole.records


def test_an_epoch_whose_patience_ran_out_is_closed_when_resumed(tmp_path):
    class Interrupts(Callback):
        def on_checkpoint(self, position, folder):
            if position.step == 4 and folder.name == "last":
                raise ValueError

    def fit(run, callbacks=(), **options):
        return trainer(
            lr=1e-30, patience=1, validate_every_steps=2, run_dir=run, callbacks=list(callbacks)
        ).fit(batches(56), batches(9), max_epochs=2, **options)

    whole = fit(tmp_path / "whole")
    with pytest.raises(bp.SettingError, match="callback Interrupts raised"):
        fit(tmp_path / "cut", [Interrupts()])
    resumed = fit(tmp_path / "cut", resume=True)
    assert resumed.records == whole.records
    assert steps_of(whole) == [2, 4]
    assert steps_of(whole, "train_loss") == [4]


def test_an_open_epoch_beyond_the_new_end_stays_open(tmp_path):
    def fit(callbacks=(), **options):
        return trainer(run_dir=tmp_path / "run", callbacks=list(callbacks)).fit(
            batches(40), batches(9), **options
        )

    with pytest.raises(bp.RunInterruptedError):
        fit([SignalsAt(10)], max_steps=10)
    assert steps_of(fit(max_epochs=1, resume=True)) == [5]
    assert steps_of(fit(max_epochs=2, resume=True)) == [5, 10]


def test_a_kept_folder_from_after_the_checkpoint_is_gone_when_the_run_is_resumed(tmp_path):
    run = tmp_path / "run"
    options = {"keep_every_steps": 3, "checkpoint_every_steps": 2}
    with pytest.raises(bp.SettingError):
        trainer(run_dir=run, callbacks=[RaisesAt(4)], **options).fit(batches(40), max_epochs=1)
    assert RunFolder(run).kept() == [3]
    trainer(run_dir=run, **options).fit(batches(40), max_steps=2, resume=True)
    assert RunFolder(run).kept() == []


def test_another_number_of_steps_between_validations_is_another_run(tmp_path):
    run = tmp_path / "run"
    trainer(run_dir=run, **EVERY).fit(batches(40), batches(9), max_epochs=1)
    with pytest.raises(bp.CheckpointError, match=r"settings\.validate_every_steps was 3 and is 2"):
        trainer(run_dir=run, validate_every_steps=2).fit(
            batches(40), batches(9), max_epochs=2, resume=True
        )


def test_a_user_who_debugs_a_loss_sees_few_calls_between_it_and_fit():
    stacks = {}

    def loss(model, batch):
        # the tests check shapes in calls of their own, which are left out
        files = traceback.extract_stack()
        calls = [f"{Path(f.filename).stem}.{f.name}" for f in files if SOURCES in f.filename]
        stacks[model.training] = [*calls[calls.index("_trainer.fit") :], "loss"]
        return bp.exact(torch.nn.CrossEntropyLoss())(model(batch[0]), batch[1])

    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trained = bp.Trainer(model, loss, optimizer, progress=False)
    trained.fit(batches(16), batches(9), max_epochs=1)
    assert len(stacks[True]) == 6
    assert len(stacks[False]) == 7
