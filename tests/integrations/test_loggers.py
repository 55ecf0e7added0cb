"""Services that are named get every mean and the settings, in their offline modes."""

import importlib
import json
import sqlite3
import zipfile

import pytest

from small_runs import batches, trainer

pytestmark = pytest.mark.filterwarnings("ignore")


def fitted(run, name):
    fitted = trainer(run_dir=run, loggers=[name], config={"mine": 7}, seed=3)
    history = fitted.fit(batches(16), batches(9), max_epochs=2)
    assert not history.notices
    return history


def test_wandb_gets_means_and_settings(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    history = fitted(tmp_path / "run", "wandb")
    # its service writes in a process of its own
    wandb.teardown()
    (log,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    content = log.read_bytes()
    assert b"val_loss" in content
    assert repr(history.values("val_loss")[-1])[:12].encode() in content
    assert b"mine" in content


def test_mlflow_gets_means_and_settings(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    history = fitted(tmp_path / "run", "mlflow")
    (run,) = mlflow.search_runs(output_format="list")
    assert run.data.metrics["val_loss"] == history.values("val_loss")[-1]
    assert run.data.params["config.mine"] == "7"
    assert run.data.params["settings.seed"] == "3"
    assert run.info.run_name == "run"
    assert run.info.status == "FINISHED"


def test_trackio_gets_means_and_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio", reason="trackio is not installed")
    utils = importlib.import_module("trackio.utils")
    monkeypatch.setattr(utils, "TRACKIO_DIR", tmp_path / "trackio")
    storage = importlib.import_module("trackio.sqlite_storage")
    monkeypatch.setattr(storage, "TRACKIO_DIR", tmp_path / "trackio")
    history = fitted(tmp_path / "run", "trackio")
    (file,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(file) as database:
        rows = [json.loads(row) for (row,) in database.execute("select metrics from metrics")]
        (config,) = database.execute("select config from configs").fetchall()
    logged = [row["val_loss"] for row in rows if "val_loss" in row]
    assert logged == history.values("val_loss")
    assert json.loads(config[0])["config"]["mine"] == 7


def test_aim_gets_means_and_settings(tmp_path, monkeypatch):
    pytest.importorskip("aim", reason="aim is not installed")
    monkeypatch.chdir(tmp_path)
    fitted(tmp_path / "run", "aim")
    # what reads a run waits for aim's own indexing, so its files are looked into
    chunks = (tmp_path / ".aim" / "meta" / "chunks").glob("*/*")
    content = b"".join(chunk.read_bytes() for chunk in chunks)
    assert b"val_loss" in content
    assert b"mine" in content


def test_comet_gets_means_and_settings(tmp_path, monkeypatch):
    pytest.importorskip("comet_ml", reason="comet is not installed")
    monkeypatch.setenv("COMET_START_ONLINE", "false")
    monkeypatch.setenv("COMET_OFFLINE_DIRECTORY", str(tmp_path / "comet"))
    history = fitted(tmp_path / "run", "comet")
    (archive,) = (tmp_path / "comet").glob("*.zip")
    with zipfile.ZipFile(archive) as zipped:
        text = b"\n".join(zipped.read(name) for name in zipped.namelist()).decode(errors="replace")
    assert '"val_loss"' in text
    assert str(history.values("val_loss")[-1])[:12] in text
    assert "config.mine" in text
