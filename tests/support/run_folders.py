"""Run folders as a trainer writes them, made by hand, for tests of what reads them."""

import json
from pathlib import Path


def record(step, epoch, name, total, weight, **more):
    return {
        "step": step,
        "epoch": epoch,
        "name": name,
        "total": total,
        "weight": weight,
        "unit": "element",
        "span": "epoch",
    } | more


def make_run(
    folder: Path, *, epochs: int = 5, shift: float = 0.0, lr: float = 0.1, error=0.01
) -> Path:
    folder.mkdir(parents=True)
    records, times = [], []
    for epoch in range(1, epochs + 1):
        step = 100 * epoch
        loss = shift + 1 / epoch + (0.05 * max(0, epoch - 3))
        for inner in range(step - 90, step + 1, 10):
            pair = {"span": "steps", "samples": 640}
            records.append(record(inner, epoch, "train_loss", 640 * (loss + 0.01), 640.0, **pair))
        seen = {"samples": 6400, "mean_of_batch_means": loss + 0.02}
        records.append(record(step, epoch, "train_loss", 6400 * loss, 6400.0, **seen))
        val = {"samples": 1000, "standard_error": error, "mean_of_batch_means": loss + 0.15}
        records.append(record(step, epoch, "val_loss", 1000 * (loss + 0.1), 1000.0, **val))
        right = {"samples": 1000, "standard_error": 0.01, "mean_of_batch_means": 0.9 - shift}
        records.append(record(step, epoch, "val_accuracy", 900.0 - 100 / epoch, 1000.0, **right))
        for group, size in (("young", 400), ("old", 600)):
            of_it = {"samples": size, "standard_error": 0.02, "mean_of_batch_means": None}
            records.append(record(step, epoch, f"val_loss/{group}", size * loss, size, **of_it))
        rate = {"unit": "step", "samples": None, "standard_error": None}
        records.append(record(step, epoch, "lr", lr * 0.9**epoch, 1.0, **rate))
        seconds = {"data": 0.3, "step": 1.2, "validation": 0.3, "checkpoint": 0.05}
        parts = {f"{name}_seconds": value for name, value in seconds.items()}
        times.append({"step": step, "epoch": epoch, "seconds": 2.0 + 0.1 * epoch} | parts)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    (folder / "timing.jsonl").write_text("".join(json.dumps(r) + "\n" for r in times))
    config = {
        "recipe": "lenet5",
        "settings": {"lr": lr, "batch_size": 64, "monitor": "val_loss", "mode": "min"},
        "environment": {"python": "3.11", "packages": {"torch": "2.13.0"}, "command": ["a", "b"]},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder
