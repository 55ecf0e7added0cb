"""Tiny transformers models with random weights, and samples for them; nothing is downloaded."""

import atexit
import functools
import shutil
import tempfile
from typing import Any

import torch
import transformers
from torch import nn

SIZE = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 32,
}
# a Trainer makes its folder even where it saves nothing; this one goes with the process
FOLDER = tempfile.mkdtemp(prefix="batchproof-")
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
LENGTHS = (3, 9, 5, 7, 2, 8, 4, 6)


def sequences(lengths: tuple[int, ...] = LENGTHS, labels: str = "tokens") -> list[dict[str, Any]]:
    """Return sequences of unequal length with labels: per token, per sequence, or its own."""
    draw = torch.Generator().manual_seed(1)
    samples = []
    for length in lengths:
        ids = torch.randint(1, 40, (length,), generator=draw)
        classes = torch.randint(3, (length,), generator=draw)
        found = {"own": ids, "tokens": classes, "sequence": classes[0], "value": classes[0].float()}
        samples.append({"input_ids": ids, "labels": found[labels]})
    return samples


def collate(samples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Pad on the right; labels of padding are -100."""
    pad = functools.partial(nn.utils.rnn.pad_sequence, batch_first=True)
    ids = [s["input_ids"] for s in samples]
    labels = [s["labels"] for s in samples]
    return {
        "input_ids": pad(ids),
        "attention_mask": pad([torch.ones_like(i) for i in ids]),
        "labels": pad(labels, padding_value=-100) if labels[0].ndim else torch.stack(labels),
    }


def config(kind: type, **more: Any) -> Any:
    """Return a tiny configuration without dropout."""
    still = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
    return kind(
        **SIZE, num_labels=3, pad_token_id=0, **(still if "Bert" in kind.__name__ else {}), **more
    )


def model(head: str, **more: Any) -> Any:
    """Return a tiny model, the same each time."""
    torch.manual_seed(0)
    kind = transformers.LlamaConfig if head.startswith("Llama") else transformers.BertConfig
    return getattr(transformers, head)(config(kind, **more))


def trainer(
    made: nn.Module, samples: list[Any], *, collator: Any = collate, **more: Any
) -> transformers.Trainer:
    """Return a Trainer that trains this model on the CPU and writes nothing."""
    arguments = {n: more.pop(n) for n in list(more) if n not in ("optimizers", "compute_loss_func")}
    args = transformers.TrainingArguments(
        FOLDER,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        **arguments,
    )
    return transformers.Trainer(
        made, args, data_collator=collator, train_dataset=samples, eval_dataset=samples, **more
    )


def step_of(head: str, labels: str = "tokens") -> transformers.Trainer:
    """Return the Trainer of a head on sequences with such labels."""
    return trainer(model(head), sequences(labels=labels))


def language_model() -> transformers.Trainer:
    """Return the Trainer of a causal language model on sequences of unequal length."""
    return trainer(model("LlamaForCausalLM", num_key_value_heads=2), sequences(labels="own"))


def sequence_classifier() -> transformers.Trainer:
    """Return the Trainer of a head whose loss is a mean, whatever it knows of the window."""
    return step_of("BertForSequenceClassification", "sequence")


class Constant(nn.Module):
    """A model whose loss is the mean of its input, so that every number is plain."""

    def __init__(self) -> None:
        super().__init__()
        self.zero = nn.Parameter(torch.zeros(()))

    def forward(
        self, x: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        return {"loss": x.mean() + 0 * self.zero}


def numbers(count: int) -> transformers.Trainer:
    """Return a Trainer whose samples are the numbers from 0."""
    samples = [{"x": torch.tensor(float(i)), "labels": torch.tensor(0)} for i in range(count)]
    return trainer(Constant(), samples, collator=transformers.default_data_collator)


def nine_numbers() -> transformers.Trainer:
    """Return a Trainer whose evaluation is the mean of 0 to 8."""
    return numbers(9)
