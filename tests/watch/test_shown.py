import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from batchproof.watch._numbers._shown import is_whole, numbers_in, of_value, plain
from batchproof.watch._numbers._slots import MOST_LINES, MOST_SLOTS, Slots


def texts(line):
    return [shown.text for shown, _ in numbers_in(line)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("loss 0.6931", ["0.6931"]),
        ("loss: -1.5e-03, acc=91.50%", ["-1.5e-03", "91.50%"]),
        ("Epoch [3/10] loss=.25.", ["3", "10", ".25"]),
        ("1,234.5 and 12.", ["1,234.5", "12"]),
        ("v1.2.3 resnet18 3x3 0x1F", []),
        ("a/0.5 (0.25)", ["0.5", "0.25"]),
        ("", []),
    ],
)
def test_numbers_are_read_with_their_digits(line, expected):
    assert texts(line) == expected


@given(st.floats(1e-6, 1e6), st.integers(1, 8))
def test_a_number_meets_every_value_that_is_written_so(value, digits):
    for form in (f"{value:.{digits}f}", f"{value:.{digits}e}", f"{value:.{digits + 1}g}"):
        ((shown, _),) = numbers_in(f"x {form}")
        assert shown.meets(value)


@given(st.integers(1000, 999_999), st.integers(1, 4))
def test_a_number_does_not_meet_the_values_beside_it(units, digits):
    ((shown, _),) = numbers_in(f"{units / 10**digits:.{digits}f}")
    unit = 10.0**-digits
    room = 3e-6 * shown.value
    assert not shown.meets(shown.value + 0.5 * unit + room)
    assert not shown.meets(shown.value - 0.5 * unit - room)


def test_the_words_before_a_number_are_its_label():
    labels = [shown.label for shown, _ in numbers_in("train loss: 5e-01 (0.5) val/acc = 0.25")]
    assert labels == ["train loss", "", "val/acc"]


def test_colours_are_not_part_of_a_line():
    assert plain("\x1b[1;32mloss\x1b[0m 0.5") == "loss 0.5"


def test_digits_count_the_values_that_are_told_apart():
    ((shown, _),) = numbers_in("0.6931")
    assert math.isclose(shown.digits, math.log10(6931))
    assert of_value(0.0, "x").digits == 0.0


def test_values_are_taken_with_all_their_digits_and_nothing_else_is():
    assert of_value(0.125, "x").half == 0.0005
    assert of_value("0.5", "x") is None
    assert of_value(True, "x") is None
    assert of_value([1, 2], "x") is None


def test_a_tensor_with_its_graph_is_taken_without_a_warning_of_torch():
    torch.set_warn_always(True)
    try:
        assert of_value(torch.full((), 0.5, requires_grad=True), "loss").value == 0.5
    finally:
        torch.set_warn_always(False)


def test_whole_numbers_are_known():
    assert [is_whole(shown) for shown, _ in numbers_in("3 -4 50% 0.5 1e5")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_rates_times_and_counts_are_no_numbers_of_interest():
    slots = Slots()
    line = "epoch 3 lr 0.0010 loss 0.5312 time 12.31s 3.25 it/s grad_norm 1.2345 mem 12.5GB"
    slots.add_line(line, 1, "a.py:1", "stdout")
    assert [slot.label for slot in slots] == ["loss"]


def test_lines_of_one_format_share_a_slot_and_others_do_not():
    slots = Slots()
    for stamp, line in enumerate(["loss 0.5", "loss 0.25", "val 0.5", "loss 0.5 acc 0.75"]):
        slots.add_line(line, stamp, "a.py:1", "stdout")
    assert [slot.count for slot in slots] == [2, 1, 1, 1]


def test_memory_is_bounded_whatever_is_printed():
    slots = Slots()
    for stamp in range(MOST_LINES + 50):
        slots.add_line(f"loss {stamp}.5", stamp, "a.py:1", "stdout")
    (slot,) = slots
    assert (len(slot.lines), slot.count) == (MOST_LINES, MOST_LINES + 50)
    assert [slot.lines[0].stamp, slot.lines[-1].stamp] == [0, MOST_LINES + 49]
    for place in range(MOST_SLOTS + 5):
        slots.add_line("loss 0.5", 1, f"b.py:{place}", "stdout")
    assert len(list(slots)) == MOST_SLOTS
    assert slots.left_out == 6
