"""Watch, on transformers' Trainer as it is."""

import pytest

import batchproof as bp

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

import tiny_transformers  # noqa: E402


def trained(model, samples, **settings):
    """The report of a Trainer that trains on the samples for one epoch."""
    arguments = transformers.TrainingArguments(
        tiny_transformers.FOLDER,
        num_train_epochs=1,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        **settings,
    )
    trainer = transformers.Trainer(
        model, arguments, train_dataset=samples, data_collator=tiny_transformers.collate
    )
    with bp.watch() as seen:
        trainer.train()
    return seen.report()


def test_the_shares_of_bert_add_up_to_four_in_a_window_of_four():
    report = trained(
        transformers.BertForSequenceClassification(
            tiny_transformers.config(transformers.BertConfig)
        ),
        tiny_transformers.sequences(labels="sequence"),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=4,
    )
    (found,) = (finding for finding in report.wrong if finding.name == "not-divided")
    assert "test_watch_transformers.py" in found.place
    assert "add up to 4 in every window" in found.sentence
    assert [len(step.contributions) for step in report.steps] == [4, 4]


def test_every_token_of_llama_counts_alike():
    report = trained(
        transformers.LlamaForCausalLM(tiny_transformers.config(transformers.LlamaConfig)),
        tiny_transformers.sequences(labels="own"),
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
    )
    assert report.ok, str(report)
    tokens = sum(part.weight for part in report.steps[0].contributions)
    assert all(
        part.share == pytest.approx(1 / tokens, rel=1e-5) for part in report.steps[0].contributions
    )
    assert any("the mean over elements" in sentence for sentence in report.right)


def test_one_micro_batch_a_step_is_right():
    report = trained(
        transformers.BertForSequenceClassification(
            tiny_transformers.config(transformers.BertConfig)
        ),
        tiny_transformers.sequences(labels="sequence"),
        per_device_train_batch_size=3,
    )
    assert report.ok, str(report)
