"""What says which elements count is taken where it is evident, and tried where it may be."""

import pytest
import torch

import check_cases as cases
from batchproof.check import check_step
from batchproof.check._measure._masks import Mask, evident_mask, likely_masks, masks_all
from batchproof.check._measure._run import Subject


def subject(run, world):
    return Subject(run, cases.Build(world.model), tuple(world.samples()), world.collate)


def test_boolean_masks_and_labels_are_evident():
    assert evident_mask(cases.sequences()) == Mask("mask", "mask")
    ids = [{"input_ids": [1, 2, 3], "labels": [1, 2, 3]}]
    assert evident_mask(ids) == Mask("labels", "value", -100)
    assert evident_mask(cases.texts()) is None


def test_a_list_of_labels_stays_a_list():
    sample = {"input_ids": [1, 2], "labels": [1, 2]}
    assert Mask("labels", "value", -100).emptied(sample)["labels"] == [-100, -100]
    assert Mask("labels", "value", -100).count(sample) == 2


@pytest.mark.parametrize(
    ("world", "loss", "mask"),
    [
        (cases.LENGTHS, cases.of_steps, Mask("[2]", "length")),
        (cases.WORDS, cases.of_words, Mask("batch", "value", 0)),
    ],
)
def test_a_length_and_a_padding_value_are_found_by_trying_them(world, loss, mask):
    probe = subject(cases.exact(loss), world)
    assert mask in likely_masks(probe)
    assert masks_all(probe, mask)


def test_a_padding_value_that_counts_is_no_mask():
    probe = subject(cases.exact(cases.of_tokens), cases.TEXT)
    assert not any(masks_all(probe, mask) for mask in likely_masks(probe))


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
def test_masks_of_zeros_and_ones_are_found(dtype):
    samples = [{**s, "mask": s["mask"].to(dtype)} for s in cases.sequences()]

    def run(model, optimizer, batches):
        batches = [{**b, "mask": b["mask"] != 0} for b in batches]
        return cases.averaged(cases.of_steps)(model, optimizer, batches)

    build = cases.Build(cases.Tagger)
    report = check_step(run, samples, build=build, collate=cases.pad_all)
    assert set(report.names) == {*cases.MEANS, *cases.EMPTY}
    assert "masked" in {cut.name for cut in report.cuts}


def test_a_mask_that_is_not_found_is_said_not_to_have_been_run():
    case = next(c for c in cases.RIGHT if c.title == "transformer, over tokens")
    report = case.probe().check()
    assert any("'masked' was not run" in note and "mask=" in note for note in report.notes)


def test_labels_are_named_before_what_they_are_labels_of():
    case = next(c for c in cases.WRONG if c.title == "transformer, mean of means")
    assert "labels" in case.probe().check().unit_text
