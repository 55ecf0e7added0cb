import json
import sys

import pytest

import batchproof as bp
from batchproof.train import Profiler, RunFolder
from small_runs import batches, trainer


class Remembers:
    def __init__(self):
        self.logged = []

    def log(self, values, *, step):
        self.logged.append((step, values))


class Raises:
    calls = 0

    def log(self, values, *, step):
        self.calls += 1
        raise ConnectionError("no\n  network")


def test_a_logger_is_handed_means_by_name_and_step():
    logger = Remembers()
    history = trainer(loggers=[logger], log_every=2).fit(batches(16), batches(9), max_epochs=1)
    assert [step for step, _ in logger.logged] == [2, 2]
    steps, epoch = (values for _, values in logger.logged)
    assert "train_loss_step" in steps
    assert epoch["val_loss"] == history.values("val_loss")[0]
    assert epoch["epoch"] == 1


@pytest.mark.parametrize("method", ["log_metrics", "track"])
def test_loggers_of_other_makers_are_called_by_their_own_method(method):
    heard = []
    made = type("Made", (), {method: lambda self, values, step: heard.append(step)})()
    trainer(loggers=[made]).fit(batches(16), max_epochs=1)
    assert heard == [2]


def test_a_logger_that_raises_is_reported_once_and_training_continues():
    logger, other = Raises(), Remembers()
    history = trainer(loggers=[logger, other]).fit(batches(16), batches(9), max_epochs=3)
    assert len(history.values("val_loss")) == 3
    (notice,) = history.notices
    assert notice.startswith("logger Raises raised ConnectionError: no network; training continues")
    assert logger.calls == 3
    assert len(other.logged) == 3


def test_tensorboard_gets_every_mean(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"
    history = trainer(run_dir=run, loggers=["tensorboard"]).fit(
        batches(16), batches(9), max_epochs=2
    )
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    found = [event.value for event in events.Scalars("val_loss")]
    assert found == pytest.approx(history.values("val_loss"), rel=1e-6)


def test_tensorboard_without_a_run_folder_is_refused():
    with pytest.raises(bp.SettingError, match="writes to the run folder, but run_dir is None"):
        trainer(loggers=["tensorboard"]).fit(batches(), max_epochs=1)


def test_curves_are_drawn_to_the_run_folder_or_a_file(tmp_path):
    pytest.importorskip("matplotlib")
    trainer(run_dir=tmp_path / "run", plot=True).fit(batches(16), batches(9), max_epochs=2)
    trainer(plot=tmp_path / "own.png").fit(batches(16), batches(9), max_epochs=2)
    for path in (tmp_path / "run" / "curves.png", tmp_path / "own.png"):
        assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("package", "module", "options"),
    [
        ("matplotlib", "matplotlib", {"plot": True}),
        ("tensorboard", "torch.utils.tensorboard", {"loggers": ["tensorboard"]}),
        ("wandb", "wandb", {"loggers": ["wandb"]}),
        ("comet", "comet_ml", {"loggers": ["comet"]}),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_its_extra(
    tmp_path, monkeypatch, package, module, options
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(bp.SettingError, match=f"{package} is not installed; pip install"):
        trainer(run_dir=tmp_path / "run", **options).fit(batches(), max_epochs=1)
    assert not (tmp_path / "run").exists()


def test_best_weights_come_from_the_folder_where_there_is_one(tmp_path):
    history = trainer(run_dir=tmp_path / "run").fit(batches(16), batches(9), max_epochs=2)
    kept = RunFolder(tmp_path / "run").weights("best")
    assert all((history.best_state()[name] == kept[name]).all() for name in kept)


def test_a_profiler_leaves_a_trace_that_chrome_opens(tmp_path):
    run = tmp_path / "run"
    trainer(run_dir=run, callbacks=[Profiler(wait=1, warmup=1, active=2)]).fit(
        batches(40), max_epochs=1
    )
    trace = json.loads((run / "profile" / "rank-0.json").read_text())
    assert any("addmm" in str(event.get("name")) for event in trace["traceEvents"])
    with pytest.raises(bp.SettingError, match="Profiler writes to the run folder, but run_dir is"):
        trainer(callbacks=[Profiler()]).fit(batches(), max_epochs=1)
    with pytest.raises(bp.SettingError, match="active is 0; expected a whole number, 1 or more"):
        Profiler(active=0)
