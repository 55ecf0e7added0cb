"""What reaches a person is noted, and nothing that writes it can tell."""

import builtins
import csv
import io
import itertools
import json
import logging
import sys
from types import ModuleType

import pytest

from batchproof.watch._numbers._outlets import OUTLETS, watched_outlets
from batchproof.watch._numbers._recorder import Recorder
from batchproof.watch._numbers._streams import watched_streams


@pytest.fixture
def recorder():
    clock = itertools.count(1)
    return Recorder(lambda: next(clock))


def noted(recorder):
    recorder.end_lines()
    found = {}
    for slot in recorder.slots:
        texts = [line.number.text for line in slot.lines]
        found.setdefault((slot.source, slot.label), []).extend(texts)
    return found


def test_lines_are_noted_in_whatever_pieces_they_are_written(recorder, capsys):
    with watched_streams(recorder):
        print("loss", 0.5)
        print("loss", 0.25, end="")
        sys.stdout.write("\nlo")
        sys.stdout.write("ss 0.1")
        sys.stdout.write("25\n")
        sys.stderr.writelines(["error ", "0.75\n"])
        print("rest 0.0625", end="")
    assert noted(recorder) == {
        ("stdout", "loss"): ["0.5", "0.25", "0.125"],
        ("stderr", "error"): ["0.75"],
        ("stdout", "rest"): ["0.0625"],
    }
    assert capsys.readouterr().out == "loss 0.5\nloss 0.25\nloss 0.125\nrest 0.0625"


def test_a_stream_stays_what_it_is_and_is_left_as_it_was(recorder, tmp_path):
    with (tmp_path / "out.bin").open("w+", encoding="utf-8") as stream:
        before, sys.stdout = sys.stdout, stream
        try:
            with watched_streams(recorder):
                assert sys.stdout is stream
                assert sys.stdout.fileno() == stream.fileno()
                assert sys.stdout.encoding == "utf-8"
                sys.stdout.buffer.write(bytes(range(256)))
                sys.stdout.flush()
                assert sys.stdout.write("loss 0.5\n") == 9
        finally:
            sys.stdout = before
        assert "write" not in vars(stream)
    assert (tmp_path / "out.bin").read_bytes() == bytes(range(256)) + b"loss 0.5\n"
    assert noted(recorder) == {("stdout", "loss"): ["0.5"]}


def test_streams_that_take_no_watching_are_left_alone(recorder, monkeypatch):
    class Fixed:
        __slots__ = ()

        def write(self, text):
            return len(text)

    for stream in (None, Fixed()):
        monkeypatch.setattr(sys, "stdout", stream)
        with watched_streams(recorder):
            print("loss 0.5")
    assert noted(recorder) == {}


def test_the_place_of_a_number_is_the_line_that_wrote_it(recorder):
    with watched_streams(recorder):
        print("loss 0.5")
    (slot,) = recorder.slots
    file, _, line = slot.place.rpartition(":")
    assert file.endswith("test_outlets.py")
    assert int(line) > 80


def test_tables_that_are_written_are_noted_and_files_that_are_read_are_not(recorder, tmp_path):
    (tmp_path / "in.csv").write_text("loss,0.5\n")
    with watched_streams(recorder):
        (tmp_path / "in.csv").read_text()
        with (tmp_path / "history.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["loss", "rate"], [0.5, 0.125], [0.25, 0.125]])
        with open(tmp_path / "metrics.json", "w") as file:  # noqa: PTH123
            json.dump({"val_loss": 0.75}, file)
        with (tmp_path / "weights.bin").open("wb") as file:
            file.write(b"loss 0.5\n")
        with (tmp_path / "code.py").open("w") as file:
            file.write("loss = 0.5\n")
    assert noted(recorder) == {
        ("history.csv", ""): ["0.5", "0.25", "0.125", "0.125"],
        ("metrics.json", "val_loss"): ["0.75"],
    }
    assert builtins.open is io.open


def test_a_record_of_logging_is_noted_once_though_it_is_printed(recorder, capsys):
    logger = logging.getLogger("test.outlets")
    logger.setLevel(logging.INFO)
    handler = logging.StreamHandler(sys.stderr)
    logger.addHandler(handler)
    try:
        with watched_outlets(recorder), watched_streams(recorder):
            logger.info("loss %.3f", 0.5)
            logger.debug("loss %.3f", 0.25)
    finally:
        logger.removeHandler(handler)
    assert noted(recorder) == {("logging", "loss"): ["0.500"]}
    assert capsys.readouterr().err == "loss 0.500\n"


def test_a_progress_bar_is_read_from_its_postfix_and_not_from_its_drawings(recorder, capsys):
    tqdm = pytest.importorskip("tqdm").tqdm
    with watched_outlets(recorder), watched_streams(recorder):
        bar = tqdm(range(3), desc="loss 0.125")
        for value in bar:
            bar.set_postfix(loss=0.5 + value)
            bar.set_description(f"epoch 1 acc {0.25 * value:.2f}")
    assert noted(recorder) == {
        ("tqdm", "loss"): ["0.5", "1.5", "2.5"],
        ("tqdm", "acc"): ["0.00", "0.25", "0.50"],
    }
    assert "loss=2.5" in capsys.readouterr().err


def test_scalars_of_tensorboard_are_noted(recorder, tmp_path):
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    with watched_outlets(recorder):
        writer = tensorboard.SummaryWriter(tmp_path)
        writer.add_scalar("loss/train", 0.5, 1)
        writer.add_scalar(tag="loss/train", scalar_value=0.25, global_step=2)
        writer.add_scalars("loss", {"val": 0.75}, 1)
        writer.close()
    assert noted(recorder) == {
        ("SummaryWriter.add_scalar", "loss/train"): ["0.5", "0.25"],
        ("SummaryWriter.add_scalars", "loss/val"): ["0.75"],
    }


TRACKERS = """
class Run:
    def log(self, data, step=None):
        self.last = data

    def track(self, value, name=None):
        self.last = value


def log(metrics):
    return metrics


def log_metric(key, value, step=None):
    return value


def log_metrics(metrics, step=None):
    return metrics
"""


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("wandb.sdk.wandb_run", "module.Run().log({'loss': 0.5, 'name': 'x'}, step=1)"),
        ("mlflow", "module.log_metric('loss', 0.5, step=1)"),
        ("mlflow", "module.log_metrics(metrics={'loss': 0.5})"),
        ("trackio", "module.log({'loss': 0.5})"),
        ("aim.sdk.run", "module.Run().track(0.5, name='loss')"),
    ],
)
def test_trackers_are_noted_whether_imported_before_or_after(
    recorder, tmp_path, monkeypatch, module, call
):
    *parents, name = module.split(".")
    folder = tmp_path.joinpath(*parents)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(TRACKERS)
    monkeypatch.syspath_prepend(tmp_path)
    for parent in [".".join(parents[: n + 1]) for n in range(len(parents))]:
        monkeypatch.setitem(sys.modules, parent, _package(parent, tmp_path))
    monkeypatch.delitem(sys.modules, module, raising=False)
    with watched_outlets(recorder):
        __import__(module)
        loaded = sys.modules[module]
        eval(call, {"module": loaded})
    with watched_outlets(recorder):
        eval(call, {"module": loaded})
    eval(call, {"module": loaded})
    # monkeypatch would restore what it takes out last
    del sys.modules[module]
    assert list(noted(recorder).values()) == [["0.5", "0.5"]]


def _package(name, root):
    package = ModuleType(name)
    package.__path__ = [str(root.joinpath(*name.split(".")))]
    return package


def test_every_outlet_is_left_as_it_was(recorder):
    from torch.utils.tensorboard import SummaryWriter

    before, finders = SummaryWriter.add_scalar, list(sys.meta_path)
    calls = logging.Logger.callHandlers
    with watched_outlets(recorder):
        assert SummaryWriter.add_scalar is not before
    assert SummaryWriter.add_scalar is before
    assert logging.Logger.callHandlers is calls
    assert sys.meta_path == finders
    assert len({(outlet.module, outlet.owner, outlet.method) for outlet in OUTLETS}) == len(OUTLETS)


def test_a_stream_with_a_write_of_its_own_is_noted_and_gets_it_back(recorder, monkeypatch):
    stream, lines = io.StringIO(), []
    stream.write = lines.append  # as ipykernel does
    monkeypatch.setattr(sys, "stdout", stream)
    with watched_streams(recorder):
        print("loss 0.5")
    assert noted(recorder) == {("stdout", "loss"): ["0.5"]}
    assert lines == ["loss 0.5", "\n"]
    assert stream.write == lines.append
