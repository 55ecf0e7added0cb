"""Samples are called coupled only where touching two of them shows it."""

import pytest
import torch

import check_cases as cases
from batchproof.check._findings._coupling import interaction
from batchproof.check._laws._least_squares import free_weights
from batchproof.check._laws._quantity import Quantity
from batchproof.check._laws._search import search_for
from batchproof.check._laws._several_terms import find_split
from batchproof.check._measure._cuts import Facts
from batchproof.check._measure._run import Subject
from batchproof.check._measure._runner import Runner


def a_runner(run, world=cases.TABULAR):
    samples = tuple(world.samples())
    subject = Subject(run, cases.Build(world.model), samples, world.collate)
    return Runner(subject, len(samples))


COUPLED = [cases.contrastive, cases.dice, cases.root, cases.against_data]
APART = [cases.of_classes, cases.of_weighted_classes, cases.of_focal]


@pytest.mark.parametrize("loss", COUPLED)
def test_what_hangs_on_other_samples_does_not_add_up(loss):
    runner = a_runner(cases.averaged(loss, reported="none"))
    assert interaction(runner) > 1e-4


@pytest.mark.parametrize("loss", APART)
def test_sums_over_fixed_weights_add_up(loss):
    runner = a_runner(cases.averaged(loss, reported="none"))
    assert interaction(runner) < 1e-12


def test_several_means_of_unlike_weights_add_up_though_no_two_explain_them():
    losses = cases.of_steps, cases.of_starts, cases.of_start_classes
    run = cases.terms_by_means(*losses, report=False)
    runner = a_runner(run, cases.PADDED)
    assert interaction(runner) < 1e-12
    facts = Facts(runner.count, (1,) * runner.count)
    split = find_split(search_for(Quantity(runner, facts), []), [runner.whole()])
    assert split is not None
    assert len(split.terms) == 3
    assert [micro.label for _, micro in split.terms].count("recovered") == 1


def groups(n):
    steps = ((0, 1), (0, 2), (0, 1, 2), (0, 1, 2, 3))
    return sorted({tuple(sorted({(i + s) % n for s in step})) for step in steps for i in range(n)})


def shares(weights, subsets):
    rows = torch.zeros(len(subsets), len(weights), dtype=torch.float64)
    for row, subset in enumerate(subsets):
        rows[row, list(subset)] = weights[list(subset)] / weights[list(subset)].sum()
    return rows


@pytest.mark.parametrize("classes", [[1.0, 5.0], [0.2, 1.0, 3.0], [0.3, 1.1, 0.7, 2.0, 5.0, 0.1]])
def test_weights_that_no_count_is_are_found_beside_a_plain_mean(classes):
    n = 6
    draw = torch.Generator().manual_seed(3)
    one, two = torch.randn(2, n, 20, generator=draw, dtype=torch.float64)
    weights = torch.tensor([classes[i % len(classes)] for i in range(n)], dtype=torch.float64)
    subsets, plain = groups(n), shares(torch.ones(n, dtype=torch.float64), groups(n))
    seen = plain @ one + shares(weights, subsets) @ two
    (found,) = free_weights(one + two, subsets, seen, [plain], tolerance=1e-9, starts=24)
    assert torch.allclose(found, weights / weights.mean(), rtol=1e-6)


def test_no_weights_are_found_where_there_are_none():
    n = 6
    draw = torch.Generator().manual_seed(4)
    single = torch.randn(n, 20, generator=draw, dtype=torch.float64)
    subsets, plain = groups(n), shares(torch.ones(n, dtype=torch.float64), groups(n))
    seen = plain @ single + 1e-3 * torch.randn(
        len(subsets), 20, generator=draw, dtype=torch.float64
    )
    assert free_weights(single, subsets, seen, [plain], tolerance=1e-7, starts=6) is None
