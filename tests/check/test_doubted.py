"""Steps that are doubted and right are not accused; mistakes that no law lists are named."""

import pytest
import torch

from batchproof.check import check_evaluate, check_step
from check_cases import doubted


@pytest.mark.parametrize("title", doubted.RIGHT)
def test_a_right_step_that_people_doubt_is_not_accused(title):
    run, samples, *more = doubted.RIGHT[title]
    dtype, build = (*more, torch.float64, doubted.linear)[:1][0], (*more[1:], doubted.linear)[0]
    report = check_step(run, samples, build=build, dtype=dtype)
    assert report.ok, str(report)
    assert not any(cut.dependent for cut in report.cuts)


@pytest.mark.parametrize("title", doubted.PLANTED)
def test_a_planted_mistake_is_named(title):
    run, samples, name, *build = doubted.PLANTED[title]
    report = check_step(run, samples, build=(*build, doubted.linear)[0])
    named = set(report.names) - {"reported-loss", "empty-micro-batch-nan"}
    assert named == {name}, str(report)


def test_totals_that_are_weighed_by_their_own_count_are_not_a_mean():
    samples, build = doubted.RAGGED, lambda: doubted.linear()[0]
    wrong = check_evaluate(doubted.totals_by_counts, samples, build=build)
    assert wrong.names == ("wrong-divisor",), str(wrong)
    assert check_evaluate(doubted.per_token, samples, build=build).ok


@pytest.mark.parametrize("title", doubted.EVALUATED)
def test_an_average_of_ratios_or_roots_is_told_from_a_mean(title):
    run, samples, name = doubted.EVALUATED[title]
    report = check_evaluate(run, samples, build=lambda: doubted.linear()[0])
    assert report.names == ((name,) if name else ()), str(report)


def test_the_remedy_names_the_limit_of_clipping_by_value():
    def run(model, optimizer, batches):
        optimizer.zero_grad()
        for x, y in batches:
            torch.nn.functional.cross_entropy(model(x), y).backward()
        torch.nn.utils.clip_grad_value_(model.parameters(), 0.05)
        optimizer.step()

    report = check_step(run, doubted.TABLE, build=doubted.linear)
    assert report.names == ("not-divided",), str(report)
    assert "gave 2 times the right gradient" in report.diagnoses[0].remedy
    assert "set lr=0.2 (now 0.1), clip_value=0.025 (now 0.05)." in report.diagnoses[0].remedy


def test_an_unknown_gradient_comes_before_a_reported_loss_that_does_not_explain_it():
    def run(model, optimizer, batches):
        optimizer.zero_grad()
        losses = []
        for x, y in batches:
            loss = torch.nn.functional.cross_entropy(model(x), y)
            (loss / len(batches) ** 0.5).backward()
            losses.append(loss.item())
        optimizer.step()
        return sum(losses) / len(losses)

    report = check_step(run, doubted.TABLE, build=doubted.linear)
    assert report.names == ("unknown", "reported-loss"), str(report)
    assert "this does not say why the gradient depends" in report.diagnoses[1].sentence
    assert "2 x sqrt(1/2)" in str(report)


def test_what_a_micro_batch_leaves_behind_is_named_with_how_far_apart_it_is():
    run, samples, _, build = doubted.PLANTED["spectral norm in training"]
    (diagnosis,) = check_step(run, samples, build=build).diagnoses
    assert "(0.parametrizations.weight.0._u, 0.parametrizations.weight.0._v)" in diagnosis.sentence
    assert "0.0%" not in diagnosis.sentence
    assert "Let every micro-batch of a window see the same state" in diagnosis.remedy


def test_an_evaluation_that_is_the_same_for_every_sample_proves_nothing():
    report = check_evaluate(lambda *_: 0.0, doubted.TABLE, build=lambda: doubted.linear()[0])
    assert report.ok
    assert not report.proof
    assert any("every sample alone gives 0" in note for note in report.notes)
