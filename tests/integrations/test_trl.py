"""TRL's SFTTrainer, which derives from transformers' Trainer, made exact without a change."""

import pytest

pytest.importorskip("trl", reason="trl is not installed")
pytest.importorskip("datasets", reason="datasets is not installed")

from batchproof import CriterionError, SettingError
from batchproof.integrations.transformers import (
    exactly,
    probe_evaluate,
    probe_step,
)
from trl_trainers import HEADS, as_it_comes, made, policy, preferences, rewards

# of TRL itself, and what its trainer calls deprecated
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


@pytest.mark.parametrize("head", HEADS)
def test_a_step_is_the_gradient_of_one_mean(head):
    report = probe_step(HEADS[head]).check()
    assert report.ok, str(report)


@pytest.mark.parametrize("head", HEADS)
def test_an_evaluation_is_one_number(head):
    report = probe_evaluate(HEADS[head]).check()
    assert report.ok, str(report)


def test_as_it_comes_its_step_is_exact_and_its_evaluation_a_mean_of_batch_means():
    assert probe_step(as_it_comes).check().ok
    assert "mean-of-micro-batch-means" in probe_evaluate(as_it_comes).check().names


def losses(trainer) -> list[float]:
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("tokens", [None, 12])
def test_a_training_takes_the_steps_that_it_took(tokens):
    settings = {"gradient_accumulation_steps": 2, "num_train_epochs": 3}
    own = made(exact=False, **settings)
    ours = made(tokens=tokens, **settings)
    assert losses(ours) == pytest.approx(losses(own), rel=1e-5)
    assert ours.state.global_step == own.state.global_step == 6


def test_what_the_trainer_counts_is_what_it_trained_on():
    settings = {"gradient_accumulation_steps": 2}
    trainers = made(exact=False, **settings), made(**settings)
    for trainer in trainers:
        trainer.train()
    own, ours = (
        [entry["num_tokens"] for entry in trainer.state.log_history if "num_tokens" in entry]
        for trainer in trainers
    )
    assert ours == own


def test_label_smoothing_is_exact_as_well():
    report = probe_evaluate(made(label_smoothing_factor=0.1)).check()
    assert report.ok, str(report)


def test_a_loss_that_is_not_a_mean_of_log_probabilities_is_refused_before_the_first_step():
    trainer = made(loss_type="dft")
    before = trainer.model.lm_head.weight.clone()
    with pytest.raises(CriterionError, match="expected a sum of their means"):
        trainer.train()
    assert (trainer.model.lm_head.weight == before).all()


def test_an_override_outside_that_calls_no_super_is_still_refused():
    trainer = made(exact=False)
    kind = type(trainer)
    trainer.__class__ = type("Mine", (kind,), {"training_step": lambda self, *_: None})
    with pytest.raises(SettingError, match="overrides training_step without calling super"):
        exactly(trainer)


@pytest.mark.parametrize("kind", [preferences, rewards])
def test_losses_over_pairs_are_refused_before_the_first_step(kind):
    trainer = exactly(kind())
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    with pytest.raises(CriterionError, match="expected a sum of their means"):
        trainer.train()
    assert all((a == b).all() for a, b in zip(before, trainer.model.parameters(), strict=True))


def test_a_trainer_that_generates_its_batches_is_refused():
    with pytest.raises(SettingError, match="GRPOTrainer generates its batches while it trains"):
        exactly(policy())
