"""The trackers themselves, where they are installed: what they are given is named as what it is."""

import importlib.util
import json
import subprocess
import sys

import pytest

from command_line import environment

SCRIPT = """
import sys
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

folder = sys.argv[1]
{begin}
torch.manual_seed(0)
data = TensorDataset(torch.randn(21, 3), torch.randn(21, 1))
model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
criterion = nn.MSELoss()
for epoch in range(3):
    for x, y in DataLoader(data, 8):
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
    values = []
    with torch.no_grad():
        for x, y in DataLoader(data, 8):
            values.append(criterion(model(x), y).item())
    value = sum(values) / len(values)
    {log}
{end}
"""

MLFLOW, BEGIN = "import mlflow\n", "\nmlflow.set_experiment('p')\nmlflow.start_run()"

TRACKERS = {
    "tensorboard": (
        "from torch.utils.tensorboard import SummaryWriter\nwriter = SummaryWriter(folder)",
        "writer.add_scalar('val/loss', value, epoch)",
        "writer.close()",
        "SummaryWriter.add_scalar",
    ),
    "wandb": (
        "import wandb\nwandb.init(mode='offline', project='p', dir=folder)",
        "wandb.log({'val/loss': value}, step=epoch)",
        "wandb.finish()",
        "Run.log",
    ),
    "wandb-run": (
        "import wandb\nrun = wandb.init(mode='offline', project='p', dir=folder)",
        "run.log({'val/loss': value, 'epoch': epoch})",
        "run.finish()",
        "Run.log",
    ),
    "mlflow": (
        MLFLOW + "mlflow.set_tracking_uri('sqlite:///' + folder + '/mlflow.db')" + BEGIN,
        "mlflow.log_metric('val/loss', value, step=epoch)",
        "mlflow.end_run()",
        "mlflow.log_metric",
    ),
    "mlflow-several": (
        MLFLOW + "mlflow.set_tracking_uri('file://' + folder)" + BEGIN,
        "mlflow.log_metrics({'val/loss': value}, step=epoch)",
        "mlflow.end_run()",
        "mlflow.log_metrics",
    ),
    "trackio": (
        "import trackio\ntrackio.init(project='p')",
        "trackio.log({'val/loss': value})",
        "trackio.finish()",
        "trackio.log",
    ),
    "aim": (
        "from aim import Run\nrun = Run(repo=folder)",
        "run.track(value, name='val/loss', step=epoch)",
        "run.close()",
        "Run.track",
    ),
    "csv": (
        "import csv\nfile = open(folder + '/log.csv', 'w', newline='')\nrows = csv.writer(file)",
        "rows.writerow([epoch, value])",
        "file.close()",
        "log.csv",
    ),
    "json": (
        "import json\nhistory = []",
        "history.append({'epoch': epoch, 'val_loss': value})",
        "with open(folder + '/history.json', 'w') as file:\n    json.dump(history, file, indent=1)",
        "history.json",
    ),
    "json-lines": (
        "import json\nfrom pathlib import Path\nlog = Path(folder) / 'log.jsonl'",
        "with log.open('a') as file: file.write(json.dumps({'val_loss': value}) + '\\n')",
        "",
        "log.jsonl",
    ),
}
BUILT_IN = {"csv", "json", "json-lines"}


@pytest.mark.slow
@pytest.mark.parametrize("name", TRACKERS)
def test_what_a_tracker_is_given_is_named(name, tmp_path):
    package = name.partition("-")[0]
    if name not in BUILT_IN and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    begin, log, end, source = TRACKERS[name]
    script, report = tmp_path / "train.py", tmp_path / "report.json"
    script.write_text(SCRIPT.format(begin=begin, log=log, end=end))
    quiet = {
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "TRACKIO_DIR": str(tmp_path / "trackio"),
        "WANDB_SILENT": "true",
    }
    command = [sys.executable, "-m", "batchproof", "watch", "--json", report, script, tmp_path]
    done = subprocess.run(
        command,
        env=environment() | quiet,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    found = json.loads(report.read_text())["findings"]
    (finding,) = [one for one in found if one["name"] == "mean-of-batch-means"]
    assert {one["source"] for one in finding["evidence"]["numbers"]} == {source}
