import json
from pathlib import Path

import pytest

from batchproof import RunFolderError
from batchproof.recipes import read_record
from batchproof.runs import runs_in


def config(folder, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(text)


RECORD = {"recipe": "lenet5", "settings": {}, "options": {}, "loggers": []}


def test_a_run_folder_tells_its_recipe_also_where_it_has_several_models(tmp_path):
    config(tmp_path / "one", json.dumps({"info": RECORD}))
    config(tmp_path / "two" / "a", json.dumps({"info": RECORD}))
    config(tmp_path / "two" / "b", json.dumps({"info": RECORD}))
    assert read_record(tmp_path / "one") == read_record(tmp_path / "two") == RECORD
    assert runs_in(tmp_path / "one") == [tmp_path / "one"]
    assert runs_in(tmp_path / "two") == [tmp_path / "two" / "a", tmp_path / "two" / "b"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", r"config\.json is not JSON"),
        ("[]", r"config\.json holds no JSON object"),
        ("[" * 100_000, r"config\.json is not JSON \(nested too deeply\)"),
        ("{}", "was not trained by a recipe"),
        ('{"info": null}', "was not trained by a recipe"),
        ('{"info": {"recipe": "lenet5"}}', "was not trained by a recipe"),
    ],
)
def test_a_record_that_is_damaged_or_absent_is_refused(tmp_path, text, sentence):
    config(tmp_path / "run", text)
    with pytest.raises(RunFolderError, match=sentence):
        read_record(tmp_path / "run")


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="there is no run folder gone"):
        read_record(Path("gone"))
    with pytest.raises(RunFolderError, match=r"holds no run; it is empty, .* without --resume"):
        read_record(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RunFolderError, match="holds no run; give a folder that training made"):
        read_record(tmp_path)
