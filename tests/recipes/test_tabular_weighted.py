import dataclasses

import pytest
import torch

from batchproof.recipes import Settings
from batchproof.recipes.tabular_weighted import generated, loss, main, network

DEFAULTS = Settings(epochs=5, batch_size=128, lr=0.002, progress=False)


def test_a_row_counts_as_many_times_as_its_weight():
    model = network(3, 4)
    features, labels = torch.randn(2, 3), torch.tensor([0, 1])
    group = torch.zeros(2, dtype=torch.int64)
    weighted = loss(model, (features, labels, torch.tensor([3.0, 1.0]), group))
    rows = torch.tensor([0, 0, 0, 1])
    repeated = loss(model, (features[rows], labels[rows], torch.ones(4), group[[0, 0, 0, 0]]))
    assert weighted.terms.item() == pytest.approx(repeated.terms.item(), rel=1e-6)
    assert weighted.metrics["accuracy"].item() == repeated.metrics["accuracy"].item()


def test_the_generated_survey_over_represents_the_town():
    table = generated()
    country = table.group(table.train, "region") == 1
    share = table.train.weight[country].sum() / table.train.weight.sum()
    assert 0.45 < country.float().mean() < 0.55
    assert share > 0.75


def check_breakdown(found) -> None:
    assert sum(group.weight for group in found.groups.values()) == pytest.approx(found.weight)
    assert sum(group.samples for group in found.groups.values()) == found.samples
    for of in (found, found.metrics["accuracy"]):
        total = sum(group.value * group.weight for group in of.groups.values())
        assert total / of.weight == pytest.approx(of.value, rel=1e-12)


def test_the_breakdown_by_group_recombines_to_the_total():
    test = main(DEFAULTS).estimates["test"]
    assert set(test.groups) == {"town", "country"}
    check_breakdown(test)
    people, rows = test.metrics["accuracy"], test.metrics["accuracy_of_rows"]
    assert people.value > 0.86
    assert people.value > rows.value


def test_adult_is_learned_to_85_of_100_people(data):
    settings = dataclasses.replace(DEFAULTS, data=data, epochs=1)
    test = main(settings, by="race").estimates["test"]
    assert test.samples == 16_281
    assert len(test.groups) == 5
    check_breakdown(test)
    assert 0.83 < test.metrics["accuracy"].value < 0.87
