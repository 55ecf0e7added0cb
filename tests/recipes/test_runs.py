import json
from pathlib import Path

import pytest

from batchproof import CheckpointError, RunFolderError
from batchproof.recipes import next_folder, read_record
from batchproof.recipes._runs import expect_free, latest_folder, parts


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_runs_are_numbered_from_the_second_on(tmp_path):
    found = []
    for _ in range(3):
        found.append(str(next_folder("lenet5")))
        (tmp_path / found[-1]).mkdir(parents=True)
    assert found == ["runs/lenet5", "runs/lenet5-2", "runs/lenet5-3"]
    assert str(latest_folder("lenet5")) == "runs/lenet5-3"


def test_a_run_that_was_deleted_does_not_make_two_of_one_name(tmp_path):
    for name in ("lenet5", "lenet5-7", "lenet5-mine", "lenet50"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert str(next_folder("lenet5")) == "runs/lenet5-8"


def test_there_is_nothing_to_go_on_with_before_the_first_run():
    with pytest.raises(RunFolderError, match="no run runs/lenet5 to go on with"):
        latest_folder("lenet5")


def test_a_folder_that_holds_anything_is_no_new_run_folder(tmp_path):
    expect_free(tmp_path / "new")
    expect_free(tmp_path)
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="never overwritten; give another --out"):
        expect_free(tmp_path)
    with pytest.raises(RunFolderError, match=r"note\.txt exists already"):
        expect_free(tmp_path / "note.txt")


def config(folder, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(text)


RECORD = {"recipe": "lenet5", "settings": {}, "options": {}}


def test_a_run_folder_tells_its_recipe_also_where_it_has_several_models(tmp_path):
    config(tmp_path / "one", json.dumps({"info": RECORD}))
    config(tmp_path / "two" / "a", json.dumps({"info": RECORD}))
    config(tmp_path / "two" / "b", json.dumps({"info": RECORD}))
    assert read_record(tmp_path / "one") == read_record(tmp_path / "two") == RECORD
    assert parts(tmp_path / "one") == [tmp_path / "one"]
    assert parts(tmp_path / "two") == [tmp_path / "two" / "a", tmp_path / "two" / "b"]


@pytest.mark.parametrize(
    ("text", "error", "sentence"),
    [
        ("{", CheckpointError, r"config\.json is damaged"),
        ("[]", CheckpointError, r"config\.json is damaged"),
        ("{}", CheckpointError, r"config\.json is damaged"),
        ('{"info": null}', RunFolderError, "was not trained by a recipe"),
        ('{"info": {"recipe": "lenet5"}}', RunFolderError, "was not trained by a recipe"),
    ],
)
def test_a_record_that_is_damaged_or_absent_is_refused(tmp_path, text, error, sentence):
    config(tmp_path / "run", text)
    with pytest.raises(error, match=sentence):
        read_record(tmp_path / "run")


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="there is no run folder gone"):
        read_record(Path("gone"))
    with pytest.raises(RunFolderError, match="holds no run"):
        read_record(tmp_path)
