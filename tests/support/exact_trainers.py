"""Trainers of many heads, made exact; functions at the top level, for other processes to import."""

import tempfile
from typing import Any

import torch
import transformers
from torch import nn

import batchproof as bp
import tiny_transformers
from batchproof.integrations.transformers import exactly

STILL = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)


def made(
    net: Any, labels: str, kind: type | None = None, count: int = 8, **more: Any
) -> transformers.Trainer:
    """Return an exact Trainer of a model on sequences with such labels."""
    lengths = (tiny_transformers.LENGTHS * 2)[:count]
    samples = tiny_transformers.sequences(lengths, labels=labels)
    trainer = tiny_transformers.trainer(net, samples, **more)
    if kind is not None:
        trainer.__class__ = kind
    return exactly(trainer)


def sequence() -> transformers.Trainer:
    return made(tiny_transformers.model("BertForSequenceClassification"), "sequence")


def regression() -> transformers.Trainer:
    net = tiny_transformers.model("BertForSequenceClassification", problem_type="regression")
    net.num_labels = net.config.num_labels = 1
    net.classifier = nn.Linear(16, 1)
    return made(net, "value")


def token() -> transformers.Trainer:
    return made(tiny_transformers.model("BertForTokenClassification"), "tokens")


def masked() -> transformers.Trainer:
    return made(tiny_transformers.model("BertForMaskedLM"), "own")


def causal() -> transformers.Trainer:
    return made(tiny_transformers.model("LlamaForCausalLM", num_key_value_heads=2), "own")


def smoothed() -> transformers.Trainer:
    net = tiny_transformers.model("LlamaForCausalLM", num_key_value_heads=2)
    return made(net, "own", label_smoothing_factor=0.1)


def sequence_to_sequence() -> transformers.Trainer:
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=40, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, dropout_rate=0.0
    )
    config.decoder_start_token_id = 0
    return made(transformers.T5ForConditionalGeneration(config), "own")


class Weighted(transformers.Trainer):
    """Class weights, as the documentation of transformers shows them."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        weight = torch.tensor([1.0, 2.0, 5.0]).to(outputs.logits)
        loss = nn.CrossEntropyLoss(weight=weight)(outputs.logits.view(-1, 3), labels.view(-1))
        return (loss, outputs) if return_outputs else loss


def class_weights() -> transformers.Trainer:
    return made(tiny_transformers.model("BertForTokenClassification"), "tokens", Weighted)


def sequence_means(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> bp.Mean:
    losses = nn.functional.cross_entropy(
        outputs.logits.transpose(1, 2), labels, reduction="none", ignore_index=-100
    )
    return bp.reduce(losses, unit="sample", mask=labels != -100)


def own_pairs() -> transformers.Trainer:
    net = tiny_transformers.model("BertForTokenClassification")
    return made(net, "tokens", compute_loss_func=sequence_means)


def experts() -> transformers.Trainer:
    torch.manual_seed(0)
    config = transformers.MixtralConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=4,
        max_position_embeddings=32,
        output_router_logits=True,
        router_aux_loss_coef=0.5,
        experts_implementation="eager",
    )
    return made(transformers.MixtralForCausalLM(config), "own")


def means_and_best(size: int, *, exact: bool) -> tuple[list[float], int]:
    """Return the mean loss after each of six epochs, and the index of that kept as the best.

    The Trainer learns from the short sequences alone, so at some epoch the long ones get worse, and
    the mean over all tokens before the mean over batches of this size does.
    """
    with tempfile.TemporaryDirectory(prefix="batchproof-") as folder:
        net = tiny_transformers.model("LlamaForCausalLM", num_key_value_heads=2)
        samples = tiny_transformers.sequences((2, 2, 3, 2, 3, 2, 31, 30), labels="own")
        arguments = transformers.TrainingArguments(
            folder,
            use_cpu=True,
            report_to=[],
            disable_tqdm=True,
            num_train_epochs=6,
            learning_rate=0.05,
            lr_scheduler_type="constant",
            save_strategy="epoch",
            eval_strategy="epoch",
            load_best_model_at_end=True,
            metric_for_best_model="loss",
            per_device_eval_batch_size=size,
        )
        trainer = transformers.Trainer(
            net,
            arguments,
            data_collator=tiny_transformers.collate,
            train_dataset=samples[:6],
            eval_dataset=samples,
        )
        kept = Measured(samples)
        trainer.add_callback(kept)
        (exactly(trainer) if exact else trainer).train()
        assert trainer.state.best_global_step is not None
        return kept.means, kept.steps.index(trainer.state.best_global_step)


class Measured(transformers.TrainerCallback):
    """The mean over all tokens after each epoch, by one batch of all samples."""

    def __init__(self, samples: list[dict[str, Any]]) -> None:
        self.whole = tiny_transformers.collate(samples)
        self.means: list[float] = []
        self.steps: list[int] = []

    def on_epoch_end(
        self, args: Any, state: Any, control: Any, *, model: Any = None, **kwargs: Any
    ) -> None:
        model.eval()
        with torch.no_grad():
            self.means.append(model(**self.whole).loss.item())
        self.steps.append(state.global_step)


def evaluated_with_nan(*, exact: bool) -> float:
    """Return eval_loss over six batches of one, where the model gives NaN on one."""
    net = tiny_transformers.model("BertForSequenceClassification")
    samples = tiny_transformers.sequences((3, 3, 3, 3, 3, 3), labels="sequence")
    for index, sample in enumerate(samples):
        sample["input_ids"] = torch.full((3,), index + 1)
    with torch.no_grad():
        net.bert.embeddings.word_embeddings.weight[4] = torch.nan
    trainer = tiny_transformers.trainer(net, samples, per_device_eval_batch_size=1)
    return (exactly(trainer) if exact else trainer).evaluate()["eval_loss"]


class Doubled(transformers.Trainer):
    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ):
        outputs = model(**inputs)
        loss = outputs.loss + outputs.logits.abs().mean()
        return (loss, outputs) if return_outputs else loss


class BySizeOfBatch(transformers.Trainer):
    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ):
        outputs = model(**inputs)
        loss = outputs.loss * len(inputs["labels"])
        return (loss, outputs) if return_outputs else loss


class Own(transformers.Trainer):
    def training_step(self, model, inputs, num_items_in_batch=None):
        return self.compute_loss(model, inputs).backward()


class Counted(transformers.TrainerCallback):
    """The steps that ended, as callbacks see them."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.steps.append(state.global_step)


HEADS = {
    f.__name__: f
    for f in (
        sequence,
        regression,
        token,
        masked,
        causal,
        smoothed,
        sequence_to_sequence,
        class_weights,
        own_pairs,
        experts,
    )
}
