"""The command line over pyproject.toml; what is misspelt is refused."""

import pytest

from batchproof.audit._settings import ALL, names_of, read_settings


def settings(folder, text):
    (folder / "pyproject.toml").write_text(text)
    return read_settings([folder], folder)


def test_without_a_table_everything_sure_is_reported(tmp_path):
    read = read_settings([tmp_path], tmp_path)
    assert (read.root, read.names, read.likely, read.baseline) == (tmp_path, ALL, False, None)


def test_the_nearest_table_above_all_paths_counts(tmp_path):
    for name in ("a/b", "a/c"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("[tool.batchproof.audit]\nlikely = true\n")
    (tmp_path / "a/pyproject.toml").write_text("[tool.other]\n")
    (tmp_path / "a/b/pyproject.toml").write_text("[tool.batchproof]\n")
    assert read_settings([tmp_path / "a/b"], tmp_path).root == tmp_path / "a/b"
    read = read_settings([tmp_path / "a/b", tmp_path / "a/c"], tmp_path)
    assert (read.root, read.likely) == (tmp_path, True)


def test_the_root_without_a_table_is_the_repository_or_where_one_is(tmp_path):
    (tmp_path / "repo/.git").mkdir(parents=True)
    (tmp_path / "repo/pkg").mkdir()
    (tmp_path / "free/pkg").mkdir(parents=True)
    assert read_settings([tmp_path / "repo/pkg"], tmp_path).root == tmp_path / "repo"
    assert read_settings([tmp_path / "free/pkg"], tmp_path / "free").root == tmp_path / "free"
    assert read_settings([tmp_path / "free"], tmp_path / "repo").root == tmp_path / "free"


def test_every_key_counts(tmp_path):
    read = settings(
        tmp_path,
        """
        [tool.batchproof.audit]
        select = ["BP1", "graph-kept"]
        ignore = ["BP101"]
        extend-select = ["bp201"]
        likely = true
        extend-exclude = ["old"]
        baseline = "known.json"
        per-file-ignores = {"tests/*" = ["ALL"]}
        """,
    )
    assert read.names == (names_of(["BP1,graph-kept,BP201"]) - {"mean-of-micro-batch-means"})
    assert read.likely
    assert "old" in read.excluded
    assert ".venv" in read.excluded
    assert read.baseline == tmp_path / "known.json"
    assert not read.covers("graph-kept", str(tmp_path / "tests/x.py"))
    assert read.covers("graph-kept", str(tmp_path / "x.py"))


def test_the_command_line_selects_in_place_of_the_table_and_ignores_beside_it(tmp_path):
    read = settings(tmp_path, '[tool.batchproof.audit]\nselect = ["BP1"]\nignore = ["BP401"]\n')
    assert read.over(select=["BP4"]).names == names_of(["BP4"])
    assert "graph-kept" not in read.over(ignore=["graph-kept"], extend_select=["BP4"]).names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.batchproof.audit]\nselekt = []", "no key 'selekt'; the nearest is 'select'"),
        ("[tool.batchproof.audits]\n", "no key 'audits'; the nearest is 'audit'"),
        ("[tool.batchproof]\nselect = []", "no key 'select'"),
        ("[tool.batchproof.audit]\nselect = 'BP1'", "select is 'BP1'; expected a list of texts"),
        ("[tool.batchproof.audit]\nselect = [1]", "expected a list of texts"),
        ("[tool.batchproof.audit]\nlikely = 1", "likely is 1; expected true or false"),
        ("[tool.batchproof.audit]\nbaseline = 1", "baseline is 1; expected a path"),
        ("[tool.batchproof.audit]\nper-file-ignores = 1", "expected a table of globs"),
        ("[tool.batchproof.audit]\nselect = ['graph-keeped']", "nearest are graph-kept"),
        ("[tool.batchproof.audit]\nselect = ['qqqqq']", "no rule is called 'qqqqq'"),
        ("[tool]\nbatchproof = 1", "expected the table"),
        ("[tool.batchproof]\naudit = 1", "expected a table"),
        ("[tool.batchproof", "is not TOML"),
    ],
)
def test_what_is_invalid_is_one_line_that_names_the_file(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        settings(tmp_path, text)
    assert str(caught.value).count(str(tmp_path / "pyproject.toml")) == 1
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_utf_8_is_no_toml(tmp_path):
    (tmp_path / "pyproject.toml").write_bytes(b"a = '\xff'")
    with pytest.raises(ValueError, match="is not TOML"):
        read_settings([tmp_path], tmp_path)
