"""A file is there whole or not at all."""

import json
import math
import os
import threading

import pytest

from batchproof._files import json_text, read_file, reason_of, refuse_file, save_text, write_file


def test_a_file_is_replaced_whole(tmp_path):
    place = tmp_path / "page.html"
    assert write_file(place, "first") == place
    assert write_file(place, "ü").read_bytes() == "ü".encode()
    assert list(tmp_path.iterdir()) == [place]


def test_what_cannot_be_written_leaves_the_older_file_as_it_was(tmp_path):
    place = tmp_path / "page.html"
    place.write_text("older")
    with pytest.raises(UnicodeEncodeError):
        write_file(place, "newer \udcff")
    assert place.read_text() == "older"
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.parametrize("write", [refuse_file, lambda place: write_file(place, "text")])
def test_folders_and_places_in_no_folder_are_refused(tmp_path, write):
    with pytest.raises(IsADirectoryError):
        write(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nowhere/page\.html"):
        write(tmp_path / "nowhere" / "page.html")
    assert not list(tmp_path.iterdir())


def test_a_text_is_returned_and_written_where_a_path_is_given(tmp_path):
    assert save_text("all", None) == "all"
    assert save_text("all", str(tmp_path / "report")) == "all"
    assert (tmp_path / "report").read_text() == "all"


def test_json_holds_numbers_that_are_not_finite_as_words():
    value = {"a": (float("inf"), 1, None), "b": [-math.inf, math.nan, True], 3: tuple}
    assert json.loads(json_text(value)) == {
        "a": ["inf", 1, None],
        "b": ["-inf", "nan", True],
        "3": "<class 'tuple'>",
    }


def test_a_pipe_is_written_through_and_stays_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()), daemon=True)
    reader.start()
    write_file(pipe, "text")
    reader.join(60)
    assert got == ["text"]
    assert pipe.is_fifo()


def test_a_reason_keeps_its_units_in_the_middle_of_a_sentence(tmp_path):
    (tmp_path / "large").write_bytes(bytes(2**20 + 1))
    with pytest.raises(OSError, match="holds more than 1 MiB") as large:
        read_file(tmp_path / "large", most=2**20)
    assert reason_of(large.value) == "holds more than 1 MiB"
    with pytest.raises(FileNotFoundError) as missing:
        read_file(tmp_path / "missing")
    assert reason_of(missing.value) == "no such file or directory"
