import dataclasses
import math

import pytest
import torch

from batchproof.data import Ragged
from batchproof.recipes import Settings
from batchproof.recipes.sequence_regression import TwoHeads, main, packed, padded

# one accumulation window holds all 204 training sequences, so that only the cut differs
WINDOW = Settings(epochs=2, batch_size=204, lr=0.01, progress=False)
CUTS = [(1, "padded"), (7, "padded"), (32, "padded"), (32, "packed"), (204, "packed")]


def found(batch_size: int, layout: str, **options) -> dict[str, float]:
    windows = math.ceil(204 / batch_size)
    settings = dataclasses.replace(WINDOW, batch_size=batch_size, accumulate=windows)
    test = main(settings, layout=layout, **options).estimates["test"]
    numbers = {"loss": test.value, "error": test.standard_error}
    numbers |= {name: of.value for name, of in test.metrics.items()}
    return numbers | {group: of.value for group, of in test.groups.items()}


@pytest.fixture(scope="module")
def whole() -> dict[str, float]:
    return found(204, "padded")


@pytest.mark.parametrize(("batch_size", "layout"), CUTS)
def test_the_result_is_the_same_at_any_batch_size_and_under_packing(whole, batch_size, layout):
    assert found(batch_size, layout) == pytest.approx(whole, rel=2e-5)


@pytest.mark.parametrize("layout", ["padded", "packed"])
@pytest.mark.parametrize("batch_size", [32, 204])
def test_a_budget_of_steps_changes_nothing(whole, batch_size, layout):
    assert found(batch_size, layout, tokens=100) == pytest.approx(whole, rel=2e-5)


def test_hard_sequences_count_more_and_still_the_cut_changes_nothing(whole):
    focused = found(204, "padded", focus=1.0, unit="sample")
    assert focused["loss"] > 1.01 * focused["error_per_sequence"]
    assert found(7, "packed", focus=1.0, unit="sample") == pytest.approx(focused, rel=2e-5)


@pytest.mark.parametrize("unit", ["element", "sample"])
def test_the_breakdown_by_kind_recombines_to_the_total(unit):
    test = main(dataclasses.replace(WINDOW, epochs=1), unit=unit).estimates["test"]
    kinds = test.groups.values()
    assert sum(kind.weight for kind in kinds) == test.weight
    total = sum(kind.value * kind.weight for kind in kinds)
    assert total / test.weight == pytest.approx(test.value, rel=1e-12)
    steps = unit == "element"
    assert test.value == test.metrics["error_per_step" if steps else "error_per_sequence"].value


def batch():
    ragged = Ragged.of([torch.randn(n, 3) for n in (4, 1, 6)])
    targets = Ragged.of([torch.randn(n, 1) for n in (4, 1, 6)])
    return ragged, targets, torch.tensor([0, 1, 1])


def test_padding_is_minus_one_and_belongs_to_nobody():
    rows = padded(batch())
    assert rows.inputs.shape == (3, 6, 3)
    assert (rows.inputs[0, 4:] == -1).all()
    assert (rows.target[1, 1:] == -1).all()
    assert rows.segments[1].tolist() == [1, -1, -1, -1, -1, -1]


def test_the_kind_selects_the_head():
    model = TwoHeads(3, 10, 8)
    rows = padded(batch())
    before = model(rows)
    with torch.no_grad():
        model.heads.bias[1] += 1
    moved = model(rows) - before
    assert torch.allclose(moved[0], torch.zeros(6), atol=1e-6)
    assert torch.allclose(moved[1:, 0], torch.ones(2), atol=1e-6)


def test_a_packed_step_sees_nothing_of_its_neighbours():
    model = TwoHeads(3, 10, 8)
    parts = batch()
    rows, row = padded(parts), packed(parts)
    predicted = model(rows)[rows.segments >= 0]
    assert torch.allclose(predicted, model(row)[row.segments >= 0], atol=1e-6)


def test_japanese_vowels_are_predicted(data):
    settings = Settings(data=data, epochs=10, batch_size=16, lr=0.003, progress=False)
    test = main(settings).estimates["test"]
    assert test.samples == 370
    assert test.metrics["error_per_step"].value < 0.12
