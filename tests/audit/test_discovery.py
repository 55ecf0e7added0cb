"""Which files are audited: what git would track, once each, whatever the tree looks like."""

import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchproof.audit._discover import discover
from batchproof.audit._gitignore import patterns_of, verdict


@pytest.fixture
def tree(tmp_path):
    def write(*names: str, **contents: str):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
        return tmp_path

    return write


def names(root, *paths, **options):
    found = discover(paths or (root,), root, **options)
    return [path.relative_to(root).as_posix() for path in found.files]


def test_a_folder_gives_python_and_notebooks_in_order(tree):
    root = tree("b.py", "a/z.ipynb", "a/a.py", "a.txt", "c.pyc", "B/x.py")
    assert names(root) == ["b.py", "B/x.py", "a/a.py", "a/z.ipynb"]


def test_other_peoples_code_is_left_out_unless_it_is_named(tree):
    root = tree(".venv/lib/x.py", "node_modules/a.py", "pkg/build/a.py", "pkg/a.py")
    assert names(root) == ["pkg/a.py"]
    assert names(root, root / ".venv") == [".venv/lib/x.py"]
    assert names(root, root / "node_modules/a.py") == ["node_modules/a.py"]


def test_globs_leave_out_by_name_or_by_path(tree):
    root = tree("a/test_x.py", "a/x.py", "gen/b/x.py", "x.py")
    assert names(root, excluded=["test_*", "gen/*"]) == ["x.py", "a/x.py"]


def test_gitignore_files_count_from_the_repository_down(tree):
    root = tree("repo/pkg/a.py", "repo/pkg/b.py", "repo/pkg/out/c.py", "repo/d.py", "x.py")
    (root / "repo/.git/info").mkdir(parents=True)
    (root / ".gitignore").write_text("*.py\n")
    (root / "repo/.gitignore").write_text("b.py\nout/\n")
    (root / "repo/pkg/.gitignore").write_text("!b.py\na.py\n")
    (root / "repo/.git/info/exclude").write_text("d.py\n")
    assert names(root, root / "repo") == ["repo/pkg/b.py"]
    assert names(root, root / "repo/pkg") == ["repo/pkg/b.py"]
    assert names(root, root / "repo/d.py") == ["repo/d.py"]


def test_links_neither_repeat_a_file_nor_make_a_walk_endless(tree):
    root = tree("a/x.py")
    (root / "a/loop").symlink_to(root / "a")
    (root / "a/self.py").symlink_to(root / "a/self.py")
    (root / "a/y.py").symlink_to(root / "a/x.py")
    (root / "a/gone.py").symlink_to(root / "nothing")
    assert names(root) == ["a/gone.py", "a/self.py", "a/x.py"]
    assert names(root, root / "a/x.py", root / "a", root) == [
        "a/x.py", "a/gone.py", "a/self.py",
    ]  # fmt: skip


def test_what_is_missing_is_said(tree):
    root = tree("a.py")
    (root / "broken").symlink_to(root / "nothing")
    found = discover([root / "no", root / "broken", root / "a.py"], root)
    assert [(p.name, reason) for p, reason in found.unreadable] == [
        ("no", "no such file"),
        ("broken", "symbolic link that leads nowhere"),
    ]
    assert len(found.files) == 1


def test_a_folder_that_may_not_be_read_is_said_and_the_rest_found(tree, monkeypatch):
    root = tree("a/x.py", "b/y.py")
    plain = os.scandir

    def scandir(place):
        if str(place).endswith("/a"):
            raise PermissionError(13, "Permission denied")
        return plain(place)

    monkeypatch.setattr(os, "scandir", scandir)
    found = discover([root], root)
    assert found.files == [root / "b/y.py"]
    assert found.unreadable == [(root / "a", "permission denied")]


@pytest.mark.parametrize("kept_in", ["default", "configured"])
def test_the_patterns_of_the_user_hold_in_every_repository(tree, monkeypatch, kept_in):
    root = tree("a.py", "scratch_b.py", ".git/HEAD")
    home = root / "home"
    place = home / (".config/git/ignore" if kept_in == "default" else "mine")
    place.parent.mkdir(parents=True)
    place.write_text("scratch_*\n")
    if kept_in == "configured":
        (home / ".gitconfig").write_text('[core]\n\texcludesFile = "~/mine"\n')
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert [path.name for path in discover([root], root).files] == ["a.py"]


def test_a_pipe_and_a_folder_called_like_a_file_are_no_files(tree):
    root = tree("folder.py/x.py")
    os.mkfifo(root / "pipe.py")
    assert names(root) == ["folder.py/x.py"]


PIECES = (
    "a", "b", "ab", "*", "**", "?", "/", "[ab]", "[!a]", "[]a]", "!", "\\", " ", "#", ".py",
    "[a-c]", "[[:alpha:]]", "-", "]", "[",
)  # fmt: skip
PATHS = (
    "a", "b", "ab", "a.py", "b.py", "a/b", "a/b/a.py", "ab/ab/b.py", "b/a/ab", "c-d", "a/ a", "#a",
    "!a", "a]", "[a",
)  # fmt: skip
ASK = ("git", "-c", "core.excludesFile=", "check-ignore", "--no-index", "--stdin", "-zvn")


@given(st.lists(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join), max_size=3))
def test_patterns_match_what_git_matches(tmp_path_factory, lines):
    root = REPOSITORY.setdefault("root", tmp_path_factory.mktemp("repository"))
    if not (root / ".git").exists():
        subprocess.run(["git", "init", "-q", root], check=True)
    (root / ".gitignore").write_text("\n".join(lines))
    asked = subprocess.run(
        ASK, input="\0".join(PATHS), cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    fields = asked.stdout.split("\0")
    by_git = {
        fields[i + 3]: bool(fields[i + 2]) and not fields[i + 2].startswith("!")
        for i in range(0, len(fields) - 3, 4)
    }
    patterns = patterns_of("\n".join(lines))
    assert {path: _ignored(patterns, path) for path in PATHS} == by_git


REPOSITORY = {}


def _ignored(patterns, path):
    """A file is ignored with the outermost folder that is."""
    parts = path.split("/")
    for i in range(1, len(parts)):
        if verdict(patterns, "/".join(parts[:i]), folder=True):
            return True
    return bool(verdict(patterns, path, folder=False))


@given(st.text(max_size=40), st.text(max_size=20))
def test_no_pattern_crashes(text, path):
    verdict(patterns_of(text), path, folder=True)
