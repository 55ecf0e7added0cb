import io
import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from batchproof.page import (
    Bar,
    Bars,
    Blocks,
    Cell,
    Code,
    Curves,
    Formula,
    Mark,
    Row,
    Series,
    Table,
    Text,
    number,
    page,
    to_html,
    to_rich,
)
from batchproof.page._svg import ticks

NASTY = '<script>alert("1 & 2")</script>'


def drawn(part) -> str:
    console = Console(width=100, no_color=True, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(to_rich(part))
    console.file.close()
    return console.export_text()


def nasty_parts():
    series = Series(NASTY, (0.0, 1.0), (1.0, 2.0), (0.1, math.nan), "exact")
    return [
        Text(NASTY, NASTY),
        Formula(NASTY),
        Code(NASTY),
        Table((NASTY, "b"), ((NASTY, NASTY),)),
        Bars(NASTY, (Bar(NASTY, -1.0, note=NASTY), Bar("b", 2.0))),
        Blocks(NASTY, (Row(NASTY, (Cell("wrong", NASTY),), NASTY),), (("wrong", NASTY),)),
        Curves(NASTY, NASTY, NASTY, (series,), (Mark(0.0, 1.0, NASTY),)),
    ]


def test_a_page_escapes_everything_and_is_well_formed():
    written = page(NASTY, NASTY, [(NASTY, nasty_parts())])
    assert "<script" not in written
    body = written[written.index("<main>") : written.index("</body>")]
    ET.fromstring(body)


def test_the_terminal_shows_every_part_as_it_is_written():
    for part in nasty_parts():
        assert NASTY in drawn(part)


def test_a_page_needs_no_network_and_no_script():
    written = page("t", "l", [("", nasty_parts())])
    assert not re.search(r"https?://|src=|@import|url\(|<link|<script", written)


def test_the_same_document_is_the_same_page():
    assert page("t", "l", [("s", nasty_parts())]) == page("t", "l", [("s", nasty_parts())])


def test_curves_leave_out_what_is_not_finite():
    part = Curves("c", "x", "y", (Series("s", (0.0, 1.0, 2.0), (1.0, math.nan, math.inf)),))
    assert "nan" not in to_html(part)
    assert part.bounds() == (-0.5, 0.5, 0.5, 1.5)


@pytest.mark.parametrize("y", [(), (0.0,), (3.0, 3.0, 3.0), (1e-9, 2e-9), (-1e12, 1e12)])
def test_curves_of_any_range_are_drawn(y):
    x = tuple(float(i) for i in range(len(y)))
    part = Curves("c", "x", "y", (Series("s", x, y),))
    ET.fromstring(to_html(part))
    assert "c" in drawn(part)


def test_an_axis_of_epochs_has_whole_numbers_only():
    epochs = Series("s", (1.0, 2.0, 3.0, 4.0), (1.0, 2.0, 3.0, 4.0))
    shares = Series("s", (0.0, 0.5, 1.0, 2.0), (1.0, 2.0, 3.0, 4.0))
    shown = re.compile(r'text-anchor="middle"[^>]*>([\d.]+)<')
    assert shown.findall(to_html(Curves("c", "epoch", "y", (epochs,)))) == ["1", "2", "3", "4"]
    assert "0.5" in shown.findall(to_html(Curves("c", "share", "y", (shares,))))


def test_the_last_tick_of_an_axis_is_not_cut_off():
    steps = Series("s", (0.0, 1000000.0), (1.0, 2.0))
    written = to_html(Curves("c", "step", "y", (steps,)))
    at = float(re.search(r'x="([\d.]+)"[^>]*>1000000<', written)[1])
    assert at + 7 * 7.2 / 2 <= 360


def test_a_curve_of_one_point_lies_inside_its_picture():
    found = re.search(
        r'cx="([\d.]+)" cy="([\d.]+)"',
        to_html(Curves("c", "x", "y", (Series("s", (5.0,), (2.0,)),))),
    )
    assert 0 < float(found[1]) < 360
    assert 0 < float(found[2]) < 216


@pytest.mark.parametrize(
    "values",
    [(0.0, 0.0), (1.0, 2.0), (-1.0, 2.0), (-1.0, -2.0), (math.nan, 1.0), (1e-320, 0.0)],
)
def test_bars_of_any_sign_stay_inside_their_picture(values):
    written = to_html(Bars("b", tuple(Bar(str(v), v) for v in values)))
    for x, width in re.findall(r'<rect[^>]* x="([-\d.]+)"[^>]* width="([-\d.]+)"', written):
        assert float(x) >= 0
        assert float(x) + float(width) <= 361


def test_what_is_too_wide_for_the_terminal_is_neither_cut_off_nor_lost():
    console = Console(width=60, file=io.StringIO(), no_color=True)
    label = "a label of many words that is wider than the room beside its bar"
    console.print(to_rich(Bars("b", (Bar(label, 1.0), Bar("tiny", 1e-320)))))
    console.print(to_rich(Blocks("b", (Row("row", (Cell(),) * 32, "a note"),))))
    console.print(to_rich(Code("x = " + "z" * 80)))
    text = console.file.getvalue()
    assert "…" not in text
    assert (text.count("█"), text.count("■"), text.count("z")) == (36, 32, 80)
    assert all(word in text for word in [*label.split(), "note"])


def test_bars_in_the_terminal_are_as_long_as_their_values():
    lines = drawn(Bars("b", (Bar("one", 1.0), Bar("two", 2.0)))).splitlines()
    assert 2 * lines[1].count("█") == lines[2].count("█")


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_are_few_increasing_and_inside(low, width):
    high = low + width
    if high - low < 1e-9 * abs(low):
        return
    found = ticks(low, high)
    assert 1 <= len(found) <= 12
    assert found == sorted(set(found))
    room = (high - low) * 1e-6
    assert all(low - room <= tick <= high + room for tick in found)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.659001, "0.659"), (105.0, "105"), (-0.0, "0"), (1e-9, "1e-09"), (math.inf, "inf")],
)
def test_numbers_are_written_as_people_read_them(value, text):
    assert number(value) == text
