"""A training on several ranks under settings of transformers' users, as a program for torchrun.

    torchrun --nproc-per-node=2 rank_settings.py CASE FOLDER

It writes which samples each rank drew, the losses that were logged and the weights at the end.
"""

import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import distributed, nn
from torch.utils.data import Dataset

import tiny_transformers
from batchproof.integrations.transformers import exactly

# nine do not divide over two ranks, nor into windows of two
LENGTHS = (*tiny_transformers.LENGTHS, 3)
EPOCHS, ACCUMULATE, RATE = 2, 2, 0.1
SETTINGS: dict[str, dict[str, Any]] = {
    "LoRA": {"train_sampling_strategy": "sequential"},
    "bf16": {"train_sampling_strategy": "sequential", "bf16": True},
    "grouped by length": {"train_sampling_strategy": "group_by_length"},
}


def samples() -> list[Any]:
    """Return texts of unequal length."""
    return tiny_transformers.sequences(LENGTHS, labels="own")


def build(case: str) -> nn.Module:
    """Return the model of a case, the same each time."""
    net: nn.Module = tiny_transformers.model("LlamaForCausalLM", num_key_value_heads=2)
    if case != "LoRA":
        return net
    import peft

    torch.manual_seed(0)
    targets = ["q_proj", "v_proj"]
    config = peft.LoraConfig(r=2, target_modules=targets, init_lora_weights=False)
    adapted: nn.Module = peft.get_peft_model(net, config)
    return adapted


class Drawn(Dataset[Any]):
    """Samples, with the order in which they are drawn."""

    def __init__(self) -> None:
        self.samples, self.order = samples(), list[int]()

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        sample = self.samples[index]
        self.order.append(index)
        return sample


def train(case: str, folder: str) -> None:
    """Train, and write the result."""
    arguments = transformers.TrainingArguments(
        folder,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        logging_steps=1,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=ACCUMULATE,
        num_train_epochs=EPOCHS,
        optim="sgd",
        learning_rate=RATE,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        **SETTINGS[case],
    )
    data = Drawn()
    trainer = exactly(
        transformers.Trainer(
            build(case), arguments, train_dataset=data, data_collator=tiny_transformers.collate
        )
    )
    trainer.train()
    order: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(order, data.order)
    if distributed.get_rank() == 0:
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        weights = [p.detach() for p in trainer.model.parameters() if p.requires_grad]
        result = {"order": order, "losses": losses, "weights": weights}
        torch.save(result, Path(folder, "result.pt"))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    train(*sys.argv[1:])
