"""What transformers' Trainer does by itself, shown by its own probes, and the exact loss in it."""

import functools
import math
import pickle

import pytest
import torch
from torch import nn

import batchproof as bp
from batchproof import ProbeError
from batchproof.check import run_probe
from framework_docs import blocks, run

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from batchproof.integrations.transformers import probe_evaluate, probe_step  # noqa: E402
from tiny_transformers import (  # noqa: E402
    collate,
    language_model,
    model,
    nine_numbers,
    numbers,
    sequence_classifier,
    sequences,
    step_of,
    trainer,
)

EVEN = {
    "8x1": [range(8)],
    "4x2": [range(4), range(4, 8)],
    "2x4": [range(i, i + 2) for i in range(0, 8, 2)],
    "1x8": [[i] for i in range(8)],
}


HEADS = {"BertForSequenceClassification": "sequence", "BertForTokenClassification": "tokens"}


def test_sequence_classification_gradients_grow_with_the_number_of_micro_batches():
    probe = probe_step(
        functools.partial(step_of, "BertForSequenceClassification", "sequence"),
        sequences(labels="sequence"),
        cuts=EVEN,
    )
    report = probe.check()
    scales = {cut.name: round(cut.scale, 6) for cut in report.cuts if cut.name in EVEN}
    assert scales == {"8x1": 1.0, "4x2": 2.0, "2x4": 4.0, "1x8": 8.0}
    assert report.names == ("not-divided",)
    assert "exactly(Trainer(" in report.diagnoses[0].code
    assert report.unit == "sample"


def test_a_causal_language_model_with_padding_is_exact():
    report = probe_step(language_model).check()
    assert report.ok, str(report)
    assert report.unit == "element"


@pytest.mark.ranks
def test_a_causal_language_model_is_exact_on_two_ranks_too():
    cuts = ["one-by-one", "ranks-2-even", "ranks-2-uneven"]
    report = probe_step(language_model, ranks=(1, 2), cuts=cuts).check()
    assert report.ok, str(report)
    assert {cut.ranks for cut in report.cuts} == {1, 2}


def test_a_table_of_heads_tells_the_exact_from_the_others():
    probes = {
        name: probe_step(functools.partial(step_of, name, labels), sequences(labels=labels))
        for name, labels in HEADS.items()
    }
    table = bp.check_heads({**probes, "LlamaForCausalLM": probe_step(language_model)})
    assert not table.failures
    named = {name: set(report.names) for name, report in table.reports.items()}
    assert named == {
        "BertForSequenceClassification": {"not-divided"},
        "BertForTokenClassification": {"not-divided", "empty-micro-batch-nan"},
        "LlamaForCausalLM": set(),
    }


def test_evaluation_of_a_padded_language_model_depends_on_the_batch_size():
    report = probe_evaluate(language_model).check()
    assert report.names == ("mean-of-micro-batch-means", "nan-batch-dropped")
    assert "exactly(Trainer(" in report.diagnoses[0].code
    values = {cut.name: cut.loss for cut in report.cuts}
    assert values["one-by-one"] != pytest.approx(values["whole"], rel=1e-4)


@pytest.mark.ranks
def test_evaluation_on_two_ranks_counts_samples_twice():
    report = probe_evaluate(nine_numbers, ranks=(1, 2)).check()
    assert "duplicated-samples" in report.names
    values = {round(cut.loss, 2) for cut in report.cuts if cut.ranks == 2}
    assert values & {3.42, 3.56}


@pytest.mark.ranks
def test_evaluation_of_a_head_that_ignores_the_count_grows_with_the_number_of_ranks():
    report = probe_evaluate(sequence_classifier, ranks=(1, 2)).check()
    assert set(report.names) == {"world-size-factor", "nan-batch-dropped"}
    scales = {round(cut.scale, 6) for cut in report.cuts if cut.ranks == 2}
    assert scales == {2.0}


def test_a_nan_batch_is_left_out_of_an_evaluation():
    report = probe_evaluate(numbers(6)).check()
    assert report.names == ("nan-batch-dropped",)
    assert "the number is 3, of the other" in report.diagnoses[0].sentence


def test_a_nan_batch_is_seen_to_be_left_out_though_the_mean_of_the_others_is_the_same():
    # of 0 to 8 the middle one is their mean
    assert probe_evaluate(nine_numbers).check().names == ("nan-batch-dropped",)


def test_the_trainer_itself_can_be_given_and_is_left_as_it_was():
    made = step_of("BertForSequenceClassification", "sequence")
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    report = probe_step(made).check()
    assert "not-divided" in report.names
    assert made.optimizer is None
    assert made.args.gradient_accumulation_steps == 1
    assert all(torch.equal(before[name], value) for name, value in made.model.state_dict().items())


def test_the_users_optimizer_is_the_one_that_steps():
    net = model("BertForSequenceClassification")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9)
    made = trainer(net, sequences(labels="sequence"), optimizers=(optimizer, None))
    built, own = probe_step(made).build()
    assert isinstance(own, torch.optim.SGD)
    assert own is not optimizer
    assert {id(p) for g in own.param_groups for p in g["params"]} == {
        id(p) for p in built.parameters()
    }


def test_a_probe_of_a_function_can_be_sent_to_other_processes():
    probe = probe_evaluate(nine_numbers)
    probe.run.factory()  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(probe)).run.factory._value is None


def test_batches_that_no_batch_size_makes_are_refused():
    with pytest.raises(ProbeError, match=r"sizes \[1, 5\] were asked of a loader"):
        probe_evaluate(numbers(6), cuts="uneven").check()


def test_what_is_no_trainer_is_refused():
    with pytest.raises(ProbeError, match=r"expected a transformers\.Trainer"):
        probe_step(lambda: 3, [1, 2]).check()


def test_the_command_line_finds_a_probe_in_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "heads_of_bert.py").write_text(
        "from tiny_transformers import sequences, step_of\n"
        "from batchproof.integrations.transformers import probe_step\n"
        "made = step_of('BertForSequenceClassification', 'sequence')\n"
        "step = probe_step(made, cuts='halves')\n"
    )
    report = run_probe("heads_of_bert:step")
    assert not report.ok


def test_the_documented_loss_function_makes_a_step_exact():
    samples = sequences((5,) * 8, labels="sequence")
    made = trainer(model("BertForSequenceClassification"), samples, max_steps=1)
    names = {
        "criterion": bp.exact(nn.CrossEntropyLoss()),
        "Trainer": transformers.Trainer,
        "model": made.model,
        "args": made.args,
        "samples": samples,
    }
    report = probe_step(run(blocks("transformers")[0], names)["trainer"]).check()
    assert report.ok, str(report)
    assert report.unit == "sample"


def test_the_documented_loss_function_is_exact_over_padded_tokens_too():
    criterion = bp.exact(nn.CrossEntropyLoss())
    names = {"criterion": lambda logits, y: criterion(logits.transpose(1, 2), y)}
    function = run(blocks("transformers")[0].split("trainer =")[0], names)["exact_loss"]
    net = model("BertForTokenClassification")
    report = probe_step(trainer(net, sequences(), compute_loss_func=function)).check()
    assert report.ok, str(report)
    assert report.unit == "element"


def test_the_documented_evaluation_does_not_depend_on_the_batches():
    samples = sequences(labels="sequence")
    net = model("BertForSequenceClassification").double().eval()
    names = {"criterion": bp.exact(nn.CrossEntropyLoss()), "bp": bp, "model": net}
    values = [
        run(blocks("transformers")[1], {**names, "batches": batches})["estimate"].value
        for batches in ([collate(samples)], [collate(samples[:3]), collate(samples[3:])])
    ]
    assert math.isclose(*values, rel_tol=1e-12)
    assert math.isclose(values[0], net(**collate(samples)).loss.item(), rel_tol=1e-12)
