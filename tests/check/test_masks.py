"""What says which elements count is taken where it is evident, and tried where it may be."""

import pytest
import torch

import check_steps
from batchproof.check import check_step
from batchproof.check._masks import Mask, evident_mask, likely_masks, masks_all
from batchproof.check._shot import Kit


def kit(run, world):
    return Kit(run, check_steps.Build(world.model), tuple(world.samples()), world.collate)


def test_boolean_masks_and_labels_are_evident():
    assert evident_mask(check_steps.sequences()) == Mask("mask", "mask")
    ids = [{"input_ids": [1, 2, 3], "labels": [1, 2, 3]}]
    assert evident_mask(ids) == Mask("labels", "value", -100)
    assert evident_mask(check_steps.texts()) is None


def test_a_list_of_labels_stays_a_list():
    sample = {"input_ids": [1, 2], "labels": [1, 2]}
    assert Mask("labels", "value", -100).emptied(sample)["labels"] == [-100, -100]
    assert Mask("labels", "value", -100).count(sample) == 2


@pytest.mark.parametrize(
    ("world", "loss", "mask"),
    [
        (check_steps.LENGTHS, check_steps.of_steps, Mask("[2]", "length")),
        (check_steps.WORDS, check_steps.of_words, Mask("batch", "value", 0)),
    ],
)
def test_a_length_and_a_padding_value_are_found_by_trying_them(world, loss, mask):
    probe = kit(check_steps.exact(loss), world)
    assert mask in likely_masks(probe)
    assert masks_all(probe, mask)


def test_a_padding_value_that_counts_is_no_mask():
    probe = kit(check_steps.exact(check_steps.of_tokens), check_steps.TEXT)
    assert not any(masks_all(probe, mask) for mask in likely_masks(probe))


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
def test_masks_of_zeros_and_ones_are_found(dtype):
    samples = [{**s, "mask": s["mask"].to(dtype)} for s in check_steps.sequences()]

    def run(model, optimizer, batches):
        batches = [{**b, "mask": b["mask"] != 0} for b in batches]
        return check_steps.averaged(check_steps.of_steps)(model, optimizer, batches)

    build = check_steps.Build(check_steps.Tagger)
    report = check_step(run, samples, build=build, collate=check_steps.pad_all)
    assert set(report.names) == {*check_steps.MEANS, *check_steps.EMPTY}
    assert "masked" in {cut.name for cut in report.cuts}


def test_a_mask_that_is_not_found_is_said_not_to_have_been_run():
    case = next(c for c in check_steps.RIGHT if c.title == "transformer, over tokens")
    report = case.probe().check()
    assert any("'masked' was not run" in note and "mask=" in note for note in report.notes)


def test_labels_are_named_before_what_they_are_labels_of():
    case = next(c for c in check_steps.WRONG if c.title == "transformer, mean of means")
    assert "labels" in case.probe().check().unit_text
