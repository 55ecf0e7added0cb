"""A run folder is read leniently where a run may have left it so, and strictly everywhere else."""

import json
import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchproof import RunFolderError
from batchproof._files import parse_json, read_file
from batchproof.runs import COLUMNS, Record, RunFolder, runs_in
from run_folders import make_run, record

LINE = json.dumps(record(1, 1, "val_loss", 6.0, 4.0))
REALS = st.floats(allow_nan=False, allow_infinity=False)


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run", epochs=2)


def test_reading_loads_no_torch():
    import subprocess
    import sys

    code = (
        "import sys; from batchproof.runs import RunFolder, History, reserved; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0


@given(
    st.builds(
        Record,
        step=st.integers(0, 2**63 - 1),
        epoch=st.integers(0, 2**63 - 1),
        name=st.text(),
        total=REALS,
        weight=REALS,
        unit=st.text(),
        span=st.sampled_from(["steps", "epoch"]),
        samples=st.none() | st.integers(0, 2**63 - 1),
        standard_error=st.none() | REALS,
        mean_of_batch_means=st.none() | REALS,
    )
)
def test_a_record_comes_back_as_it_was_written(written):
    assert Record.from_json(parse_json(json.dumps(written.to_json()))) == written


def test_what_a_line_need_not_say_has_defaults():
    values = {"step": 1.0, "epoch": 1, "name": "a", "total": None, "weight": 2, "unit": "element"}
    read = Record.from_json({**values, "more": [1]})
    assert (read.step, read.span, read.samples, read.standard_error) == (1, "epoch", None, None)
    assert math.isnan(read.total)
    assert math.isnan(read.value)
    assert set(read.to_json()) == set(COLUMNS)


WRONG = [
    ({"step": "1"}, "step is '1'; expected an integer from 0"),
    ({"step": True}, "step is True"),
    ({"step": -1}, "step is -1"),
    ({"step": 1.5}, "step is 1.5"),
    ({"step": math.inf}, "step is inf"),
    ({"step": 10**400}, "step is 1000"),
    ({"epoch": None}, "epoch is None"),
    ({"name": 3}, "name is 3; expected a string"),
    ({"unit": ["a"]}, r"unit is \['a'\]"),
    ({"total": "6"}, "total is '6'; expected a number that float64 holds, or null"),
    ({"total": math.inf}, "total is too large"),
    ({"total": 10**400}, "total is too large"),
    ({"weight": {}}, "weight is {}"),
    ({"weight": False}, "weight is False"),
    ({"span": "day"}, "span is 'day'; expected 'steps' or 'epoch'"),
    ({"span": []}, r"span is \[\]"),
    ({"samples": -3}, "samples is -3"),
    ({"standard_error": "x"}, "standard_error is 'x'"),
    ({"mean_of_batch_means": [1]}, r"mean_of_batch_means is \[1\]"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_a_record_of_other_types_is_refused_with_its_line(run, change, message):
    bad = json.dumps(record(2, 1, "val_loss", 6.0, 4.0) | change)
    (run / "metrics.jsonl").write_text(f"{LINE}\n{bad}\n{LINE}\n")
    with pytest.raises(RunFolderError, match=f"line 2 of .*jsonl is not a record .{message}"):
        RunFolder(run).records()


@pytest.mark.parametrize("text", ["[" * 100_000, "1e999999", "null", "[]", '"x"', "{", "\0", "NaN"])
def test_a_line_that_is_no_record_is_refused_and_a_last_one_that_is_cut_is_left_out(run, text):
    (run / "metrics.jsonl").write_text(f"{LINE}\n{text}\n")
    with pytest.raises(RunFolderError, match=r"line 2 of .* is not a record") as refused:
        RunFolder(run).records()
    assert len(str(refused.value)) < 400
    (run / "metrics.jsonl").write_text(f"{LINE}\n{text}")
    assert len(RunFolder(run).records()) == 1


def test_a_last_line_without_its_newline_counts_where_it_is_whole(run):
    (run / "metrics.jsonl").write_text(f"{LINE}\n{LINE}")
    assert len(RunFolder(run).records()) == 2


def test_a_line_is_not_ended_by_what_only_python_takes_for_a_newline(run):
    odd = record(1, 1, "val_loss/a\u2028b\x0bc\x85", 6.0, 4.0)
    (run / "metrics.jsonl").write_text(json.dumps(odd, ensure_ascii=False) + "\n", "utf-8")
    assert RunFolder(run).records()[0].name == odd["name"]


@pytest.mark.parametrize("name", ["metrics.jsonl", "timing.jsonl", "config.json"])
@pytest.mark.parametrize("kind", ["pipe", "link", "device", "sparse", "bytes"])
def test_what_is_no_regular_file_of_a_usual_size_is_refused_at_once(run, tmp_path, name, kind):
    path = run / name
    content = path.read_bytes()
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        (tmp_path / "elsewhere").write_bytes(content)
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(2**42)
    else:
        path.write_bytes(b"\xff\xfe\x00\n")
    with pytest.raises(RunFolderError, match=rf"{name}") as refused:
        RunFolder(run).history(), RunFolder(run).timing()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", [1, None, [], "x", {"identity": []}, {"identity": {"mode": []}}])
def test_a_configuration_of_any_shape_gives_a_history_or_is_refused(run, value):
    (run / "config.json").write_text(json.dumps(value))
    if isinstance(value, dict):
        history = RunFolder(run).history()
        assert (history.monitor, history.mode) == ("val_loss", "min")
    else:
        with pytest.raises(RunFolderError, match=r"config.json holds no JSON object"):
            RunFolder(run).history()


def test_the_history_of_a_folder_is_that_of_the_run(run):
    history = RunFolder(run).history()
    assert history.monitor == "val_loss"
    assert history.choice is not None
    assert str(history.choice).startswith("best: epoch 2, val_loss 0.6 ± 0.01; runner-up: epoch 1")
    assert str(history.choice).endswith("they differ by more than their standard errors")


def test_a_folder_of_runs_is_the_runs_in_it(tmp_path):
    for name in ("b", "a"):
        make_run(tmp_path / name)
    (tmp_path / "notes").mkdir()
    (tmp_path / "linked").symlink_to("a")
    assert runs_in(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert runs_in(tmp_path / "a") == [tmp_path / "a"]
    assert runs_in(tmp_path / "nowhere") == runs_in(tmp_path / "notes") == []


def test_a_file_is_read_through_a_link_only_where_that_is_asked(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    assert read_file(tmp_path / "link", links=True) == b"abc"
    with pytest.raises(OSError, match="is a link; expected a regular file"):
        read_file(tmp_path / "link")
    with pytest.raises(OSError, match="holds more than"):
        read_file(tmp_path / "file", most=2)


def nested(levels):
    return "[" * levels + "]" * levels


def test_json_is_read_to_a_depth_that_no_file_of_ours_has():
    assert parse_json(nested(64)) is not None
    assert parse_json(f'{{"a": "{"[" * 100}"}}') == {"a": "[" * 100}
    for levels in (65, 900, 100_000):
        with pytest.raises(ValueError, match="nested too deeply"):
            parse_json(nested(levels))
    assert parse_json(json.dumps([[]] * 100)) == [[]] * 100
