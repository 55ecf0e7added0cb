"""A small BERT in other people's trainers, as they come and with ours, for two benchmarks."""

import contextlib
import functools
import io
import logging
import tempfile
import time
import warnings

VOCABULARY = 1000


def bert(width, longest):
    """Return a classifier of 4 layers, the same each time.

    Args:
        width: of its hidden states.
        longest: positions that it takes.
    """
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=4 * width,
        max_position_embeddings=longest,
        num_labels=3,
    )
    return transformers.BertForSequenceClassification(config)


def adam(model):
    import torch

    return torch.optim.AdamW(model.parameters(), 5e-5)


def by_transformers(model, loader, accumulate, *, exact, tokens=None, **settings):
    """Return a function that trains an epoch by transformers' Trainer."""
    import transformers

    from batchproof.integrations.transformers import exactly

    arguments = transformers.TrainingArguments(
        tempfile.mkdtemp(prefix="batchproof-"),
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        logging_strategy="no",
        num_train_epochs=1,
        per_device_train_batch_size=loader.batch_size,
        gradient_accumulation_steps=accumulate,
        **settings,
    )
    trainer = transformers.Trainer(
        model, arguments, data_collator=loader.collate_fn, train_dataset=loader.dataset
    )
    return (exactly(trainer, tokens=tokens) if exact else trainer).train


def by_lightning(model, loader, accumulate, *, exact, tokens=None):
    """Return a function that trains an epoch by Lightning's Trainer."""
    import lightning.pytorch as lightning

    from batchproof.integrations.lightning import Exact

    class Classifier(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = model

        def training_step(self, batch, batch_idx):  # noqa: ARG002
            return self.net(**batch).loss

        def configure_optimizers(self):
            return adam(self)

    settings = {"tokens": tokens} if tokens else {}
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        accumulate_grad_batches=accumulate,
        callbacks=[Exact(**settings)] if exact else [],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    return functools.partial(trainer.fit, Classifier(), loader)


def by_accelerate(model, loader, accumulate, *, exact, tokens=None):
    """Return a function that trains an epoch by a loop with accelerate."""
    import accelerate

    from batchproof.integrations.accelerate import exactly

    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=accumulate)
    accelerator = exactly(accelerator) if exact else accelerator
    model, optimizer, loader = accelerator.prepare(model, adam(model), loader)

    def train():
        model.train()
        batches = accelerator.recut(loader, tokens=tokens) if tokens else loader
        for batch in batches:
            with accelerator.accumulate(model):
                accelerator.backward(model(**batch).loss)
                optimizer.step()
                optimizer.zero_grad()

    return train


def seconds(make, *arguments, **settings):
    """Return the processor's time of one training, without what makes it."""
    train = make(*arguments, **settings)
    with contextlib.redirect_stdout(io.StringIO()):
        began = time.process_time()
        train()
        return time.process_time() - began


def quiet():
    """Compute on one thread, and let the frameworks print nothing."""
    import torch
    import transformers

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
