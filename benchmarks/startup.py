"""Time from the shell: `batchproof --help`, and the first training step beside two frameworks.

    python benchmarks/startup.py [--lightning PYTHON] [--transformers PYTHON] [--quick] [--out FILE]

PYTHON is the interpreter of an environment that has the framework. Every side trains the same
small network on the same numbers and says when its first optimiser step is done; rounds are
interleaved, and the first, which warms the disk's cache, is left out.
Goals: `batchproof --help` in at most 0.3 s, without torch; the first step sooner than both
frameworks. Takes about 5 minutes with them.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _measure import heading, keep, parser, summary

DATA = """
import torch
x = torch.linspace(-1, 1, 4096).view(64, 64)
y = torch.arange(64) % 10
model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
def say():
    import os
    os.write(1, b"stepped\\n")
    os._exit(0)
"""
BATCHPROOF = (
    DATA
    + """
import batchproof as bp
from batchproof.train import Callback
class Stop(Callback):
    def on_step(self, position, result):
        say()
loss = bp.supervised(torch.nn.CrossEntropyLoss())
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
bp.Trainer(model, loss, optimizer, callbacks=[Stop()]).fit([(x, y)], max_epochs=1)
"""
)
LIGHTNING = (
    DATA
    + """
import lightning as L
class Module(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = model
    def training_step(self, batch, index):
        return torch.nn.functional.cross_entropy(self.model(batch[0]), batch[1])
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
class Stop(L.Callback):
    def on_train_batch_end(self, *arguments):
        say()
samples = torch.utils.data.TensorDataset(x, y)
loader = torch.utils.data.DataLoader(samples, batch_size=64)
L.Trainer(max_epochs=1, accelerator="cpu", callbacks=[Stop()]).fit(Module(), loader)
"""
)
TRANSFORMERS = (
    DATA
    + """
from transformers import Trainer, TrainerCallback, TrainingArguments
class Module(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.model = model
    def forward(self, x, labels):
        logits = self.model(x)
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}
class Stop(TrainerCallback):
    def on_step_end(self, *arguments, **more):
        say()
samples = [{"x": row, "labels": label} for row, label in zip(x, y)]
settings = TrainingArguments("out", per_device_train_batch_size=64, use_cpu=True, report_to=[])
Trainer(Module(), settings, train_dataset=samples, callbacks=[Stop()]).train()
"""
)


def sides(arguments):
    """Return what is timed, by name, as command lines."""
    here = sys.executable
    found = {
        "batchproof --help": [here, "-m", "batchproof", "--help"],
        "batchproof: first step": [here, "-c", BATCHPROOF],
        "torch alone: import": [here, "-c", "import torch"],
    }
    if arguments.lightning:
        found["lightning: first step"] = [arguments.lightning, "-c", LIGHTNING]
    if arguments.transformers:
        found["transformers: first step"] = [arguments.transformers, "-c", TRANSFORMERS]
    return found


def seconds(command, folder):
    """Return how long a command takes from start to its last word."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    took = time.perf_counter() - start
    if done.returncode != 0 or ("-c" in command and "say()" in command[-1] and not done.stdout):
        sys.exit(f"{command[0]} failed:\n{done.stderr[-2000:]}")
    return took


def main():
    line = parser(__doc__)
    line.add_argument("--lightning", help="interpreter that has lightning")
    line.add_argument("--transformers", help="interpreter that has transformers")
    line.add_argument("--quick", action="store_true", help="two rounds; nothing is kept")
    line.add_argument("--out", type=Path, help="where to write what was found")
    arguments = line.parse_args()
    commands, rounds = sides(arguments), 2 if arguments.quick else 9
    with tempfile.TemporaryDirectory() as folder:
        taken = [
            {name: seconds(command, folder) for name, command in commands.items()}
            for _ in range(rounds + 1)
        ][1:]
    found = heading("seconds from the shell, medians of rounds", threads=None)
    found["rounds"] = rounds
    found["seconds"] = {name: summary([row[name] for row in taken]) for name in commands}
    found["goal"] = {"batchproof --help": 0.3}
    print(json.dumps(found["seconds"], indent=1))
    if not arguments.quick or arguments.out:
        print(f"kept in {keep('startup', found, out=arguments.out)}")


if __name__ == "__main__":
    main()
