"""Trainings of an exact Trainer under the settings of its users: any cut, the same weights."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("transformers", reason="transformers is not installed")

import transformers

import rank_settings
import tiny_transformers
from batchproof import CriterionError
from batchproof.integrations.transformers import exactly

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def llama():
    return tiny_transformers.model("LlamaForCausalLM", num_key_value_heads=2)


def lora():
    peft = pytest.importorskip("peft", reason="peft is not installed")
    torch.manual_seed(0)
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    return peft.get_peft_model(llama(), config)


def t5():
    torch.manual_seed(0)
    size = {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    config = transformers.T5Config(**size, dropout_rate=0.0, decoder_start_token_id=0)
    return transformers.T5ForConditionalGeneration(config)


def bert():
    return tiny_transformers.model("BertForSequenceClassification")


class Weighted(transformers.Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        loss = F.cross_entropy(outputs.logits, labels, weight=torch.tensor([1.0, 5.0, 0.2]))
        return (loss, outputs) if return_outputs else loss


class Penalised(Weighted):
    def compute_loss(self, model, *args, **kwargs):
        squares = sum(p.square().sum() for p in model.parameters())
        return super().compute_loss(model, *args, **kwargs) + 0.01 * squares


class Summed(transformers.Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        losses = F.cross_entropy(model(**inputs).logits, labels, reduction="sum")
        return losses / (num_items_in_batch or 1)


def trainer_of(folder, model, size, accumulate, *, kind=None, labels="own", **settings):
    kind = kind or transformers.Trainer
    options = {
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": accumulate,
        "learning_rate": 0.1,
        "optim": "sgd",
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "num_train_epochs": 2,
        "train_sampling_strategy": "sequential",
        "save_strategy": "no",
    }
    named = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "logging_strategy": "no"}
    seq2seq = issubclass(kind, transformers.Seq2SeqTrainer)
    arguments = transformers.Seq2SeqTrainingArguments if seq2seq else transformers.TrainingArguments
    samples = tiny_transformers.sequences(labels=labels)[:8]
    return exactly(
        kind(
            model,
            arguments(str(folder), **(named | options | settings)),
            train_dataset=samples,
            data_collator=tiny_transformers.collate,
        )
    )


def weights(trainer):
    trainer.train()
    return [p.detach().double().clone() for p in trainer.model.parameters() if p.requires_grad]


def gap(ours, others):
    largest = max(float(each.abs().max()) for each in others)
    return max(float((a - b).abs().max()) for a, b in zip(ours, others, strict=True)) / largest


CASES = {
    "class weights": (bert, {"kind": Weighted, "labels": "sequence"}, 1e-6),
    "LoRA": (lora, {}, 1e-6),
    "bf16": (llama, {"bf16": True}, 1e-2),
    "label smoothing": (llama, {"label_smoothing_factor": 0.1}, 1e-6),
    "max_steps": (llama, {"max_steps": 3}, 1e-6),
    "gradient checkpointing": (llama, {"gradient_checkpointing": True}, 1e-6),
    "sequence to sequence": (t5, {"kind": transformers.Seq2SeqTrainer}, 1e-6),
}


@pytest.mark.parametrize("case", CASES)
def test_micro_batches_end_at_the_weights_of_whole_windows(case, tmp_path):
    build, settings, tolerance = CASES[case]
    ours = weights(trainer_of(tmp_path, build(), 1, 4, **settings))
    assert gap(ours, weights(trainer_of(tmp_path, build(), 4, 1, **settings))) < tolerance


@pytest.mark.parametrize("kind", [Penalised, Summed])
def test_a_loss_that_cannot_be_split_is_refused_before_the_first_step(kind, tmp_path):
    trainer = trainer_of(tmp_path, bert(), 1, 4, kind=kind, labels="sequence")
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    with pytest.raises(CriterionError, match="expected a sum of their means"):
        trainer.train()
    assert all((a == b).all() for a, b in zip(before, trainer.model.parameters(), strict=True))


def test_a_training_that_is_resumed_ends_at_the_same_weights(tmp_path):
    saved = {"save_strategy": "steps", "save_steps": 2}
    whole = weights(trainer_of(tmp_path, llama(), 1, 3, **saved))
    resumed = trainer_of(tmp_path, llama(), 1, 3, **saved)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert resumed.state.global_step == 6
    assert gap([p.detach().double() for p in resumed.model.parameters()], whole) == 0


def by_hand(case, order):
    """Return the losses and the weights of windows that are one mean over all ranks, in float64."""
    samples, net = rank_settings.samples(), rank_settings.build(case).double()
    parameters = [p for p in net.parameters() if p.requires_grad]
    each = -(-len(samples) // len(order))
    losses = []
    for epoch in range(rank_settings.EPOCHS):
        # what comes before is the reading of lengths
        ranks = [rank[len(rank) - (rank_settings.EPOCHS - epoch) * each :] for rank in order]
        once = set()
        for first in range(0, each, rank_settings.ACCUMULATE):
            window = range(first, min(each, first + rank_settings.ACCUMULATE))
            # samples that make ranks even count once
            fresh = {rank[i] for i in window for rank in ranks} - once
            once |= fresh
            total, weight = torch.zeros(()), 0
            for index in fresh:
                batch = tiny_transformers.collate([samples[index]])
                labels = batch.pop("labels")[:, 1:].flatten()
                logits = net(**batch).logits[:, :-1].flatten(0, 1)
                total = total + F.cross_entropy(logits.double(), labels, reduction="sum")
                weight += int((labels != -100).sum())
            gradients = torch.autograd.grad(total / weight, parameters)
            with torch.no_grad():
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.sub_(gradient, alpha=rank_settings.RATE)
            losses.append(float(total.detach()) / weight)
        assert once == set(range(len(samples)))
    return losses, [parameter.detach() for parameter in parameters]


@pytest.mark.ranks
@pytest.mark.slow
@pytest.mark.parametrize("case", rank_settings.SETTINGS)
def test_two_ranks_end_at_the_weights_of_whole_windows(case, tmp_path):
    if case == "LoRA":
        pytest.importorskip("peft", reason="peft is not installed")
    program = Path(rank_settings.__file__)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(program), case, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = torch.load(tmp_path / "result.pt", weights_only=True)
    losses, whole = by_hand(case, result["order"])
    tolerance = 1e-2 if case == "bf16" else 1e-6
    assert gap([each.double() for each in result["weights"]], whole) < tolerance
    assert [float(loss) for loss in result["losses"]] == pytest.approx(losses, rel=tolerance)
