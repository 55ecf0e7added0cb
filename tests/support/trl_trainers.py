"""TRL's SFTTrainer over tiny models, made exact; functions for other processes to import."""

from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from tokenizers import Tokenizer, models

import tiny_transformers
from batchproof.integrations.transformers import exactly


def tokenizer() -> Any:
    words = models.WordLevel({f"word{i}": i for i in range(40)}, unk_token="word0")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(words), pad_token="word0", eos_token="word1"
    )


def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    return tiny_transformers.collate(
        [{name: torch.as_tensor(value) for name, value in row.items()} for row in rows]
    )


def made(net: Any = None, *, exact: bool = True, tokens: int | None = None, **settings: Any) -> Any:
    """Return a trainer over 8 sequences, the first tokens of which are prompts without a label."""
    rows = []
    for sample in tiny_transformers.sequences(labels="own"):
        labels = sample["labels"].clone()
        labels[: len(labels) // 3] = -100
        rows.append({"input_ids": sample["input_ids"].tolist(), "labels": labels.tolist()})
    arguments = {
        "per_device_train_batch_size": 2,
        "learning_rate": 0.1,
        "lr_scheduler_type": "constant",
        "optim": "sgd",
        "max_grad_norm": 0.0,
        "num_train_epochs": 1,
        "logging_steps": 1,
        "train_sampling_strategy": "sequential",
    } | settings
    trainer = trl.SFTTrainer(
        net or tiny_transformers.model("LlamaForCausalLM", num_key_value_heads=2),
        trl.SFTConfig(
            tiny_transformers.FOLDER,
            use_cpu=True,
            bf16=False,
            report_to=[],
            disable_tqdm=True,
            save_strategy="no",
            gradient_checkpointing=False,
            dataset_kwargs={"skip_prepare_dataset": True},
            **arguments,
        ),
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(rows),
        processing_class=tokenizer(),
        data_collator=collate,
    )
    return exactly(trainer, tokens=tokens) if exact else trainer


def plain() -> Any:
    return made()


def as_it_comes() -> Any:
    return made(exact=False)


def experts() -> Any:
    from exact_trainers import experts as mixtral

    return made(mixtral().model)


def text(length: int, start: int) -> str:
    return " ".join(f"word{(i * 7 + start) % 38 + 2}" for i in range(length))


def settings() -> dict[str, Any]:
    return {
        "output_dir": tiny_transformers.FOLDER,
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "disable_tqdm": True,
        "save_strategy": "no",
        "gradient_checkpointing": False,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "max_steps": 2,
    }


def pairs() -> Dataset:
    return Dataset.from_list(
        [{"chosen": text(3 + i % 4, i + 1), "rejected": text(2 + i % 5, i + 2)} for i in range(8)]
    )


def llama() -> Any:
    return tiny_transformers.model("LlamaForCausalLM", num_key_value_heads=2)


def preferences() -> Any:
    """Return a DPOTrainer."""
    rows = pairs().map(lambda _, i: {"prompt": text(2 + i % 3, i)}, with_indices=True)
    return trl.DPOTrainer(
        llama(),
        ref_model=llama(),
        args=trl.DPOConfig(**settings()),
        train_dataset=rows,
        processing_class=tokenizer(),
    )


def rewards() -> Any:
    """Return a RewardTrainer."""
    config = llama().config
    config.num_labels = 1
    return trl.RewardTrainer(
        transformers.LlamaForSequenceClassification(config),
        trl.RewardConfig(**settings()),
        train_dataset=pairs(),
        processing_class=tokenizer(),
    )


def policy() -> Any:
    """Return a GRPOTrainer."""
    return trl.GRPOTrainer(
        llama(),
        reward_funcs=lambda completions, **_: [float(len(each)) for each in completions],
        args=trl.GRPOConfig(num_generations=2, max_completion_length=6, **settings()),
        train_dataset=Dataset.from_list([{"prompt": text(2 + i % 3, i)} for i in range(8)]),
        processing_class=tokenizer(),
    )


HEADS = {f.__name__: f for f in (plain, experts)}
