"""transformers' Trainer made exact: proved by check and watch, and as whole trainings."""

import copy
import itertools
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import batchproof as bp
from batchproof import CriterionError, NonFiniteError, SettingError

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

import exact_trainers  # noqa: E402
import tiny_transformers  # noqa: E402
from batchproof.integrations import transformers as integration  # noqa: E402
from batchproof.integrations.transformers import (  # noqa: E402
    exactly,
    probe_evaluate,
    probe_step,
)
from exact_trainers import HEADS  # noqa: E402
from tiny_transformers import collate, model, sequences  # noqa: E402

SUPPORT = Path(__file__).resolve().parents[1] / "support"


@pytest.mark.parametrize("head", HEADS)
def test_a_step_of_every_head_is_the_gradient_of_one_mean(head):
    report = probe_step(HEADS[head]).check()
    assert report.ok, str(report)


@pytest.mark.parametrize("head", HEADS)
def test_the_evaluation_of_every_head_is_one_number(head):
    report = probe_evaluate(HEADS[head]).check()
    assert report.ok, str(report)


@pytest.mark.ranks
@pytest.mark.slow
@pytest.mark.parametrize("head", ["sequence", "class_weights", "experts"])
def test_two_ranks_and_accumulation_together_are_exact(head):
    cuts = ["one-by-one", "halves", "ranks-2-even", "ranks-2-uneven"]
    report = probe_step(HEADS[head], ranks=(1, 2), cuts=cuts).check()
    assert report.ok, str(report)
    assert {cut.ranks for cut in report.cuts} == {1, 2}


@pytest.mark.ranks
@pytest.mark.slow
@pytest.mark.parametrize("head", ["token", "experts"])
def test_an_evaluation_on_two_ranks_counts_every_sample_once(head):
    report = probe_evaluate(HEADS[head], ranks=(1, 2)).check()
    assert report.ok, str(report)


def classifier(tmp_path, *, exact=True, tokens=None, samples=None, **settings):
    """A Trainer over 11 sequences in windows of 2 batches of 2, with its folder."""
    lengths = (*tiny_transformers.LENGTHS, 3, 6, 5)
    samples = samples or sequences(lengths, labels="sequence")
    settings = {"save_strategy": "no", "num_train_epochs": 3, "learning_rate": 0.1} | settings
    arguments = transformers.TrainingArguments(
        str(tmp_path),
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        optim="sgd",
        max_grad_norm=0.5,
        train_sampling_strategy="sequential",
        **settings,
    )
    made = transformers.Trainer(
        model("BertForSequenceClassification"),
        arguments,
        data_collator=collate,
        train_dataset=samples,
        eval_dataset=samples,
    )
    return exactly(made, tokens=tokens) if exact else made


def by_hand(samples, epochs, total=9, window=4):
    """The weights after steps over whole windows, under the Trainer's linear schedule."""
    net = model("BertForSequenceClassification").train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / total)
    losses = []
    for _ in range(epochs):
        for start in range(0, len(samples), window):
            optimizer.zero_grad()
            loss = net(**collate(samples[start : start + window])).loss
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 0.5)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    return net, losses


def same_weights(one, other):
    for (name, value), theirs in zip(
        one.state_dict().items(), other.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(value, theirs, rtol=2e-5, atol=2e-6, msg=name)


def test_a_whole_training_takes_the_steps_of_whole_windows(tmp_path):
    trainer = classifier(tmp_path, logging_steps=1)
    trainer.train()
    net, losses = by_hand(trainer.train_dataset, 3)
    same_weights(trainer.model, net)
    assert trainer.state.global_step == 9
    shown = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert shown == pytest.approx(losses, rel=1e-5)


def test_windows_that_are_recut_take_the_same_steps(tmp_path):
    trainer = classifier(tmp_path, tokens=12, logging_steps=1)
    shapes = []
    forward = trainer.model.bert.forward
    trainer.model.bert.forward = lambda input_ids, **more: (
        shapes.append(input_ids.numel()) or forward(input_ids, **more)
    )
    trainer.train()
    net, losses = by_hand(trainer.train_dataset, 3)
    same_weights(trainer.model, net)
    assert max(shapes[2:]) <= 12
    shown = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert shown == pytest.approx(losses, rel=1e-5)


def test_max_steps_checkpoints_callbacks_and_resuming_are_the_trainers_own(tmp_path):
    first = classifier(tmp_path, save_strategy="steps", save_steps=4, max_steps=9)
    counted = exact_trainers.Counted()
    first.add_callback(counted)
    first.train()
    assert counted.steps == list(range(1, 10))
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == [
        "checkpoint-4",
        "checkpoint-8",
        "checkpoint-9",
    ]
    again = classifier(tmp_path, save_strategy="steps", save_steps=4, max_steps=9)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert again.state.global_step == 9
    same_weights(again.model, first.model)


def test_the_best_model_is_chosen_by_the_exact_number(tmp_path):
    trainer = classifier(
        tmp_path,
        save_strategy="epoch",
        eval_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        per_device_eval_batch_size=4,
    )
    trainer.train()
    with torch.no_grad():
        whole = trainer.model.eval()(**collate(trainer.eval_dataset)).loss.item()
    assert trainer.state.best_metric == pytest.approx(whole, rel=1e-5)


def test_an_evaluation_has_a_standard_error(tmp_path):
    trainer = classifier(tmp_path, per_device_eval_batch_size=4)
    found = trainer.evaluate()
    net = trainer.model.eval()
    batches = [collate([sample]) for sample in trainer.eval_dataset]
    expected = bp.evaluate(
        net,
        batches,
        lambda net, batch: bp.exact(nn.CrossEntropyLoss())(net(**batch).logits, batch["labels"]),
    )
    assert found["eval_loss"] == pytest.approx(expected.value, rel=1e-6)
    assert found["eval_loss_standard_error"] == pytest.approx(expected.standard_error, rel=1e-5)


def test_a_class_of_ones_own_derives_from_the_exact_trainer(tmp_path):
    trainer = classifier(tmp_path, exact=False)
    trainer.__class__ = type("Mine", (integration.ExactTrainer,), {})
    trainer.train()
    same_weights(trainer.model, by_hand(trainer.train_dataset, 3)[0])


def test_watch_finds_nothing_wrong_with_an_exact_training(tmp_path):
    with bp.watch() as seen:
        classifier(tmp_path, num_train_epochs=1).train()
    report = seen.report()
    assert report.ok, str(report)
    assert [len(step.contributions) for step in report.steps] == [2, 2, 2]


def test_a_batch_of_nan_in_an_evaluation_is_an_error(tmp_path):
    trainer = classifier(tmp_path, per_device_eval_batch_size=4)
    with torch.no_grad():
        trainer.model.bert.embeddings.word_embeddings.weight[sequences()[6]["input_ids"][0]] = (
            math.nan
        )
    with pytest.raises(NonFiniteError, match="eval_loss is nan, first in batch"):
        trainer.evaluate()


def test_a_loss_of_nan_stops_a_training_before_the_weights_are_lost(tmp_path):
    trainer = classifier(tmp_path)
    with torch.no_grad():
        trainer.model.classifier.bias[0] = math.nan
    before = copy.deepcopy(trainer.model.bert.state_dict())
    with pytest.raises((NonFiniteError, CriterionError), match="nan"):
        trainer.train()
    after = trainer.model.bert.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (exact_trainers.Doubled, "expected a sum of their means"),
        (exact_trainers.BySizeOfBatch, "the same on every"),
    ],
)
def test_a_loss_that_cannot_be_split_is_refused_before_the_first_step(tmp_path, kind, text):
    trainer = classifier(tmp_path, exact=False)
    trainer.__class__ = kind
    before = copy.deepcopy(trainer.model.state_dict())
    with pytest.raises(CriterionError, match=text):
        exactly(trainer).train()
    assert all(torch.equal(v, before[n]) for n, v in trainer.model.state_dict().items())


def test_an_override_that_calls_no_super_is_refused(tmp_path):
    trainer = classifier(tmp_path, exact=False)
    trainer.__class__ = exact_trainers.Own
    with pytest.raises(SettingError, match="Own overrides training_step without calling super"):
        exactly(trainer)


def test_what_is_not_a_trainer_is_refused():
    with pytest.raises(SettingError, match=r"given an int; expected a transformers\.Trainer"):
        exactly(3)


def test_settings_that_leave_no_exact_step_are_refused(tmp_path):
    trainer = classifier(tmp_path, exact=False)
    trainer.args.optim = "lomo"
    with pytest.raises(SettingError, match="optim=lomo, which steps within the backward pass"):
        exactly(trainer)


ON_RANKS = """
import sys
sys.path.insert(0, {support!r})
import torch, transformers
import tiny_transformers as tiny
from batchproof.integrations.transformers import exactly

lengths = (*tiny.LENGTHS, 3, 6, 5)
samples = tiny.sequences(lengths, labels="sequence")
arguments = transformers.TrainingArguments(
    {folder!r}, use_cpu=True, report_to=[], disable_tqdm=True, save_strategy="no",
    per_device_train_batch_size=1, per_device_eval_batch_size=2, gradient_accumulation_steps=2,
    optim="sgd", learning_rate=0.1, max_grad_norm=0.5, num_train_epochs=3,
    train_sampling_strategy="sequential", logging_steps=1, ddp_find_unused_parameters=False,
)
trainer = exactly(transformers.Trainer(
    tiny.model("BertForSequenceClassification"), arguments, data_collator=tiny.collate,
    train_dataset=samples, eval_dataset=samples,
), tokens={tokens})
before = trainer.evaluate()
trainer.train()
after = trainer.evaluate()
if trainer.is_world_process_zero():
    torch.save(
        dict(before=before, after=after, model=trainer.model.state_dict(),
             losses=[e["loss"] for e in trainer.state.log_history if "loss" in e]),
        {folder!r} + "/result.pt")
"""


@pytest.mark.ranks
@pytest.mark.slow
@pytest.mark.parametrize("tokens", [None, 8])
def test_two_ranks_train_as_one_where_the_samples_do_not_divide(tmp_path, tokens):
    script = tmp_path / "train.py"
    script.write_text(ON_RANKS.format(support=str(SUPPORT), folder=str(tmp_path), tokens=tokens))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(script)], capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = torch.load(tmp_path / "result.pt", weights_only=True)
    samples = sequences((*tiny_transformers.LENGTHS, 3, 6, 5), labels="sequence")
    net, losses = by_hand(samples, 3)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, result["model"][name], rtol=2e-5, atol=2e-6)
    assert result["losses"] == pytest.approx(losses, rel=1e-5)
    with torch.no_grad():
        for when, made in (("before", model("BertForSequenceClassification")), ("after", net)):
            whole = made.eval()(**collate(samples)).loss.item()
            assert result[when]["eval_loss"] == pytest.approx(whole, rel=2e-5)


def test_a_window_without_labels_moves_nothing():
    samples = sequences(labels="tokens")
    for sample in samples:
        sample["labels"] = torch.full_like(sample["labels"], -100)
    samples[0]["labels"][1] = 1
    net = model("BertForTokenClassification")
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, weight_decay=0.1)
    trainer = tiny_transformers.trainer(
        net,
        samples,
        per_device_train_batch_size=2,
        num_train_epochs=1,
        train_sampling_strategy="sequential",
        optimizers=(optimizer, None),
    )
    weights = [net.classifier.weight.clone()]
    optimizer.register_step_post_hook(lambda *_: weights.append(net.classifier.weight.clone()))
    exactly(trainer).train()
    moved = [not torch.equal(a, b) for a, b in itertools.pairwise(weights)]
    assert moved == [True, False, False, False]
