"""The classic mistakes, planted in the step one by one: the law must catch each."""

import pytest
import torch

import batchproof as bp
import step_models as models
from batchproof.mean import Pairs
from batchproof.step import _gradients, _objective, _step, _tally
from batchproof.step._tally import Tally

PARTS = [[0], [1, 2], [3, 4, 5]]


def mean_of_means(monkeypatch):
    def weights_as_one(self, pairs):
        ones = {
            name: bp.Mean(mean.total.detach() / mean.weight.clamp(min=1), torch.ones(()))
            for name, mean in pairs.terms.items()
        }
        self.pairs.append(Pairs(ones, pairs.metrics))

    monkeypatch.setattr(Tally, "add", weights_as_one)


def divided_by_the_number_of_micro_batches(monkeypatch):
    def factors(tally, weight, divisor, *, divides):
        return 1 / len(tally.pairs), 1 / len(tally.pairs)

    monkeypatch.setattr(_step, "_factors", factors)


def never_divided(monkeypatch):
    monkeypatch.setattr(_step, "_factors", lambda *args, **kwargs: (None, None))


def last_micro_batch_only(monkeypatch):
    backward = _step.Step._backward

    def after_zeroing(self, tally, pairs, *, micro_batches):
        self._update.zero()
        backward(self, tally, pairs, micro_batches=micro_batches)

    monkeypatch.setattr(_step.Step, "_backward", after_zeroing)


def clipped_before_the_division(monkeypatch):
    def factors(tally, weight, divisor, *, divides):
        whole = 1 / weight
        return None, whole

    monkeypatch.setattr(_step, "_factors", factors)


def terms_over_one_weight(monkeypatch):
    def first_weight(counted, name):
        return next(iter(counted.values()))

    monkeypatch.setattr(_step, "known_weight", first_weight)
    monkeypatch.setattr(_step, "miscounted", lambda counted, weights: False)


def coefficient_forgotten(monkeypatch):
    def seed(self, name, total, divisor):
        return None if divisor is None else total.new_full((), 1 / divisor)

    monkeypatch.setattr(_objective.Objective, "seed", seed)


MUTANTS = [
    mean_of_means,
    divided_by_the_number_of_micro_batches,
    never_divided,
    last_micro_batch_only,
    clipped_before_the_division,
]
MUTANTS_OF_TERMS = [terms_over_one_weight, coefficient_forgotten]


def assert_law(*, two: bool) -> None:
    ours, theirs, whole = models.model_of(), models.model_of(), models.samples_of(0)
    step = bp.Step(
        ours,
        torch.optim.SGD(ours.parameters(), 0.5),
        max_grad_norm=0.3,
        coefficients={"sides": 0.3} if two else None,
        count=models.counted if two else None,
    )
    loss = models.two_terms if two else models.squares
    objective = models.mean_of_two if two else models.mean_of_squares
    result = step(models.cut(whole, PARTS), loss)
    ((value, norm),) = models.by_hand(
        theirs, torch.optim.SGD(theirs.parameters(), 0.5), objective, [whole], max_grad_norm=0.3
    )
    models.assert_same(ours, theirs)
    assert result.loss.item() == pytest.approx(value, rel=1e-12)
    assert result.grad_norm.item() == pytest.approx(norm, rel=1e-12)


def test_the_law_holds_without_a_mutant():
    assert_law(two=False)
    assert_law(two=True)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_law_catches(mutant, monkeypatch, unchecked):
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        assert_law(two=False)


@pytest.mark.parametrize("mutant", MUTANTS_OF_TERMS, ids=lambda mutant: mutant.__name__)
def test_the_law_of_several_terms_catches(mutant, monkeypatch, unchecked):
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        assert_law(two=True)


def test_a_counter_in_float32_is_caught(monkeypatch):
    def count_to(parts):
        tally = Tally()
        for part in parts:
            mean = bp.Mean(torch.tensor(0.0), torch.tensor(float(part), dtype=torch.float64))
            tally.add(Pairs({"loss": mean}, {}))
        return tally.terms()["loss"].weight.item()

    parts = [2**24, 1]
    assert count_to(parts) == 2**24 + 1
    monkeypatch.setattr(_tally, "exact_dtype", lambda device: torch.float32)
    assert count_to(parts) != 2**24 + 1


def test_a_norm_of_float32_sums_would_lose_small_gradients():
    grads = [torch.full((4,), 3e-30), torch.full((4,), 4e-30)]
    assert _gradients.total_norm(grads) == pytest.approx(1e-29, rel=1e-6)
