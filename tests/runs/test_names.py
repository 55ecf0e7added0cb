import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from batchproof import RunFolderError
from batchproof.runs import expect_free, latest_folder, next_folder, reserved


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


def test_the_latest_run_is_the_last_that_was_begun(tmp_path):
    for name in ("lenet5", "lenet5-2", "lenet5-10"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").write_text("{}")
    (tmp_path / "runs" / "lenet5-11").mkdir()
    assert str(latest_folder("lenet5")) == "runs/lenet5-10"


def test_a_run_that_was_deleted_does_not_make_two_of_one_name(tmp_path):
    for name in ("lenet5", "lenet5-7", "lenet5-mine", "lenet50"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert str(next_folder("lenet5")) == "runs/lenet5-8"


def test_there_is_nothing_to_resume_before_the_first_run():
    with pytest.raises(RunFolderError, match="no run runs/lenet5 to resume"):
        latest_folder("lenet5")


def test_a_folder_that_holds_anything_is_no_new_run_folder(tmp_path):
    expect_free(tmp_path / "new")
    expect_free(tmp_path)
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="never overwritten; choose another folder, or"):
        expect_free(tmp_path)
    with pytest.raises(RunFolderError, match=r"note\.txt exists already"):
        expect_free(tmp_path / "note.txt")


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_runs_that_begin_at_once_get_folders_of_their_own(tmp_path):
    with reserved("lenet5") as one, reserved("lenet5") as two, reserved("lenet5") as three:
        assert [str(path) for path in (one, two, three)] == everything(tmp_path)[1:]
        assert all(path.is_dir() for path in (one, two, three))
        (two / "config.json").touch()
    assert everything(tmp_path) == ["runs", "runs/lenet5-2", "runs/lenet5-2/config.json"]


def test_folders_are_reserved_by_many_threads_without_two_of_one_name():
    together = threading.Barrier(8, timeout=60)

    def reserve(held):
        together.wait()
        return held.enter_context(reserved("lenet5"))

    with ExitStack() as held, ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(reserve, [held] * 8))) == 8


def test_a_parent_folder_that_another_run_makes_meanwhile_is_used(monkeypatch, tmp_path):
    is_dir = Path.is_dir

    def asked_a_moment_too_early(path):
        there = is_dir(path)
        if path == Path("place") and not there:
            path.mkdir()
        return there

    monkeypatch.setattr(Path, "is_dir", asked_a_moment_too_early)
    with reserved("lenet5", Path("place/run")) as folder:
        assert folder.is_dir()
    assert everything(tmp_path) == ["place"]  # it belongs to the run that made it


def test_a_run_that_is_refused_leaves_no_folder_that_was_not_there(tmp_path):
    (tmp_path / "there").mkdir()
    for out in (None, Path("there"), Path("there/new"), Path("a/b/c")):
        with reserved("lenet5", out) as folder:
            assert folder.is_dir()
    assert everything(tmp_path) == ["there"]


def test_a_folder_that_cannot_be_made_is_refused_at_once(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "empty").mkdir()
    refused = {
        "file/run": "cannot make file/run: file is not a folder; choose a place",
        "file": "file exists already and is never overwritten",
        "link": "link exists already and is never overwritten",
        "x" * 300: "file name too long",
    }
    for out, sentence in refused.items():
        with pytest.raises(RunFolderError, match=sentence), reserved("lenet5", Path(out)):
            pass
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(RunFolderError, match="no permission"), reserved("a", Path("empty")):
        pass
    (tmp_path / "runs").touch()
    with pytest.raises(RunFolderError, match="cannot make runs/lenet5"), reserved("lenet5"):
        pass


def test_a_mount_point_is_refused_for_a_folder_in_it(monkeypatch, tmp_path):
    (tmp_path / "mount").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda _: True)
    sentence = "it is a mount point; name a folder in it"
    with pytest.raises(RunFolderError, match=sentence), reserved("a", Path("mount")):
        pass
