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
    fragment,
    number,
    page,
    printable,
    to_html,
    to_rich,
)
from batchproof.page._parts import labels
from batchproof.page._svg import ticks

NASTY = '<script>alert("1 & 2")</script>'


def drawn(part, width=100) -> str:
    console = Console(width=width, no_color=True, record=True, file=io.StringIO())
    console.print(to_rich(part))
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


def test_a_curve_of_one_point_is_inside_its_picture():
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
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    assert (text.count("█"), text.count("■"), text.count("z")) == (36, 32, 80)
    assert all(word in text for word in [*label.split(), "note"])


def test_code_in_the_terminal_is_copied_without_spaces_behind_it():
    console = Console(width=60, file=io.StringIO())
    console.print(to_rich(Code("x = 1\n\nif x:\n    y = 2")))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text == "    x = 1\n\n    if x:\n        y = 2\n"


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


ENDS = [0.0, -0.0, 5e-324, -5e-324, 2.3e-308, 1e-300, 1e-160, 1e16, 1e300, 1e308, -1.7e308]
FLOATS = st.sampled_from([*ENDS, math.nan, math.inf, 1.0, 1.0 + 2**-52]) | st.floats()


@given(st.lists(st.tuples(FLOATS, FLOATS, FLOATS), max_size=6), st.lists(FLOATS, max_size=6))
def test_numbers_at_the_ends_of_float64_are_drawn_or_left_out(points, lengths):
    columns = tuple(zip(*points, strict=True)) or ((), (), ())
    parts = [
        Curves("c", "x", "y", (Series("s", *columns),)),
        Bars("b", tuple(Bar("name", length) for length in lengths)),
    ]
    for part in parts:
        assert not re.search(r' (cx|cy|x|y|d|width|height)="[^"]*(nan|inf)', to_html(part))
        drawn(part)


@given(st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=6))
def test_ticks_that_differ_have_labels_that_differ(values):
    assert len(set(labels(values))) == len(set(values))


def test_the_labels_of_a_narrow_axis_differ():
    series = Series("train_loss", (1.0, 2.0), (1.65692, 1.65699))
    written = to_html(Curves("train_loss", "epoch", "mean", (series,)))
    ticks = re.findall(r'text-anchor="end">([^<]*)<', written)
    assert len(ticks) > 2
    assert len(set(ticks)) == len(ticks)


CODES = "\x1b[31mred\x07\u202eabc\x9b2J"


def test_control_codes_never_reach_a_terminal():
    series = Series(CODES, (0.0, 1.0), (1.0, 2.0))
    parts = [
        Text(CODES, CODES),
        Code(CODES),
        Table((CODES, "b"), ((CODES, CODES),)),
        Bars(CODES, (Bar(CODES, 1.0, note=CODES),)),
        Blocks(CODES, (Row(CODES, (Cell("wrong", "a"),), CODES),), (("wrong", CODES),)),
        Curves(CODES, CODES, CODES, (series,), (Mark(0.0, 1.0, CODES),)),
    ]
    for part in parts:
        for width in (30, 100):
            assert drawn(part, width).replace("\n", "").isprintable()
    assert printable("two\nlines, a\ttab") == "two\nlines, a\ttab"


def test_a_page_may_load_send_and_run_nothing():
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page("a", "b", []))
    assert policy
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules == {
        "default-src": "'none'",
        "style-src": "'unsafe-inline'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_a_table_whose_numbers_would_be_cut_has_its_rows_apart():
    table = Table(("step", "loss", "weight"), (("0", "27.67123", "0.00123"),))
    assert drawn(table, 40).split() == ["step", "loss", "weight", "0", "27.67123", "0.00123"]
    assert [line.split() for line in drawn(table, 20).splitlines()] == [
        ["step", "0"],
        ["loss", "27.67123"],
        ["weight", "0.00123"],
    ]


@pytest.mark.parametrize("width", [44, 60, 70, 80, 84, 100])
def test_the_words_of_a_table_wrap_before_any_number_is_cut(width):
    columns = ("cut: micro-batches", "x uncut", "shares", "error", "reported", "")
    shares = "3/44 + 9/44 + 5/44 + ..."
    rows = (
        ("ragged-1: 1 + 3 + 2 + 1 + 1", "1", shares, "2.1e-16", "1.77298", "DEPENDS"),
        ("whole: 8", "0.4321", "1", "0", "1.77298", "same"),
    )
    lines = drawn(Table(columns, rows), width).splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert all(text.count(cell) >= 1 for row in rows for cell in row[1:])
    assert [text.count(word) for word in ("ragged-1:", "DEPENDS", "same", shares)] == [1, 1, 1, 1]


def test_a_table_without_rows_is_its_heads():
    assert drawn(Table(("step", "loss"), ()), 40).split() == ["step", "loss"]


def test_a_chart_is_as_wide_as_the_terminal_allows():
    part = Curves("c", "step", "loss", (Series("s", (0.0, 1.0), (1.0, 2.0)),))
    for width in (24, 40, 60, 100):
        lines = drawn(part, width).splitlines()
        assert max(map(len, lines)) <= width
        assert sum(line.count("●") for line in lines) >= 2


def test_a_fragment_keeps_its_style_to_itself(tmp_path):
    cell = fragment([("a < b", (Text("x"), Table(("a", "b"), (("1", "2"),))))])
    style = re.search(r"<style>\n@scope \{(.*)\}\n</style>", cell, re.DOTALL)
    assert style
    assert ":root" not in style[1]
    assert not re.search(r"^body", style[1], re.MULTILINE)
    assert "a &lt; b" in cell
    assert "<html" not in cell
