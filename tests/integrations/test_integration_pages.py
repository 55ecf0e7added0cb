"""The blocks of each integration's page as one program, from names that its reader has."""

import importlib.util
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import batchproof

pytestmark = pytest.mark.filterwarnings("ignore")
PAGES = Path(__file__).resolve().parents[2] / "docs" / "integrations"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run(page: str, framework: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run a page's blocks one after the other, and return all names after them."""
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    names = {"__name__": page, "batchproof": batchproof, "torch": torch, "F": F, **names}
    path = PAGES / f"{page}.md"
    blocks = BLOCK.findall(path.read_text(encoding="utf-8"))
    assert blocks, f"{path.name} shows no code"
    for block in blocks:
        exec(compile(block, str(path), "exec"), names)
    return names


class Words(nn.Module):
    """Logits of a class for each token, classes before tokens as cross-entropy has them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(9, 4), nn.Linear(4, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(ids)).transpose(1, 2)


def padded(rows: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return ids, nn.utils.rnn.pad_sequence([row % 3 for row in rows], True, -100)


def test_the_page_of_accelerate():
    framework = pytest.importorskip("accelerate", reason="accelerate is not installed")
    torch.manual_seed(0)
    texts = [torch.randint(1, 9, (n,)) for n in (3, 7, 2, 5, 6, 4, 1)]
    model = Words()
    before = model.head.weight.detach().clone()
    names = run(
        "accelerate",
        "accelerate",
        {
            "Accelerator": framework.Accelerator,
            "model": model,
            "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
            "loader": torch.utils.data.DataLoader(texts, batch_size=1, collate_fn=padded),
        },
    )
    assert math.isfinite(names["accelerator"].step_loss)
    assert not torch.equal(model.head.weight, before)


def test_the_page_of_lightning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")
    from tiny_lightning import Classifier, Kept, classified

    class Module:
        logged: tuple[str, Any]

        def log(self, *logged: Any) -> None:
            self.logged = logged

    module = Module()
    logits, target = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), torch.tensor([0, 1, 1])
    names = run(
        "lightning",
        "lightning",
        {"lightning": lightning, "self": module, "logits": logits, "target": target},
    )
    assert module.logged[1].item() == pytest.approx(2 / 3)
    trainer = names["trainer"]
    trainer.fit_loop.max_epochs = 1
    kept = Kept()
    trainer.callbacks.append(kept)
    loader = torch.utils.data.DataLoader(classified(9), batch_size=1)
    net = Classifier()
    whole = F.cross_entropy(
        net.net(torch.stack([x for x, _ in classified(4)])),
        torch.stack([y for _, y in classified(4)]),
    ).item()
    trainer.fit(net, loader)
    assert trainer.global_step == 3
    assert kept.logged[3] == pytest.approx(whole, rel=1e-5)


def test_the_page_of_torchmetrics():
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
    criterion = nn.CrossEntropyLoss(torch.tensor([1.0, 5.0]))
    output, target = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), torch.tensor([0, 1, 1])
    given = {"criterion": criterion, "output": output, "target": target}
    names = run("torchmetrics", "torchmetrics", given)
    expected = criterion(output, target).item()
    assert names["metric"].compute().item() == pytest.approx(expected, rel=1e-6)


def test_the_page_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from tiny_transformers import collate, model, sequences

    samples = sequences(labels="tokens")
    settings = {"use_cpu": True, "report_to": [], "save_strategy": "no", "num_train_epochs": 1}
    settings |= {"per_device_eval_batch_size": 3, "gradient_accumulation_steps": 2}
    given = {
        "Trainer": transformers.Trainer,
        "model": model("BertForTokenClassification"),
        "args": transformers.TrainingArguments(str(tmp_path), **settings),
        "train": samples,
        "val": samples,
        "collate": collate,
    }
    names = run("transformers", "transformers", given)
    trainer = names["trainer"]
    trainer.train()
    with torch.no_grad():
        outputs = trainer.model.eval()(**collate(samples))
    assert trainer.evaluate()["eval_loss"] == pytest.approx(outputs.loss.item(), rel=1e-5)
    means = names["sequence_means"](outputs, collate(samples)["labels"])
    assert means.unit == "sample"
    assert means.weight.sum() == len(samples)


WEIGHTED = nn.CrossEntropyLoss(torch.tensor([1.0, 5.0]))


def rows() -> list[tuple[torch.Tensor, torch.Tensor]]:
    draw = torch.Generator().manual_seed(0)
    return [(torch.randn(3, generator=draw), torch.tensor(i % 2)) for i in range(7)]


def mean_of(model: nn.Module) -> float:
    inputs, targets = map(torch.stack, zip(*rows(), strict=True))
    with torch.no_grad():
        return WEIGHTED(model(inputs), targets).item()


def test_the_page_of_ignite():
    engine = pytest.importorskip("ignite.engine", reason="pytorch-ignite is not installed")
    model, pairs = nn.Linear(3, 2), batchproof.exact(WEIGHTED)
    evaluator = engine.Engine(lambda engine, batch: (model(batch[0]).detach(), batch[1]))
    given = {
        "Engine": engine.Engine,
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "loss": lambda model, batch: pairs(model(batch[0]), batch[1]),
        "criterion": WEIGHTED,
        "evaluator": evaluator,
        "loader": torch.utils.data.DataLoader(rows(), batch_size=1),
    }
    names = run("ignite", "ignite", given)
    assert names["trainer"].state.iteration == 6
    evaluator.run(given["loader"])
    assert evaluator.state.metrics["loss"] == pytest.approx(mean_of(model), rel=1e-6)


def test_the_page_of_torcheval():
    output, target = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), torch.tensor([0, 1, 1])
    names = run(
        "torcheval", "torcheval", {"criterion": WEIGHTED, "output": output, "target": target}
    )
    expected = WEIGHTED(output, target).item()
    assert names["metric"].compute().item() == pytest.approx(expected, rel=1e-6)


def test_the_page_of_keras(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip("keras", reason="keras is not installed")
    import keras

    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
    data = {"inputs": torch.randn(40, 3).numpy(), "targets": torch.randn(40, 1).numpy()}
    given = {"model": model, "optimizer": "sgd", "loss": "mean_squared_error"}
    names = run("keras", "keras", given | data)
    assert model.optimizer.iterations.value.item() == 2
    assert names["model"].evaluate(torch.ones(3, 3), torch.ones(3, 1), verbose=0)


def test_the_page_of_skorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    skorch = pytest.importorskip("skorch", reason="skorch is not installed")
    from skorch.callbacks import Checkpoint

    given = {"NeuralNetClassifier": skorch.NeuralNetClassifier, "Checkpoint": Checkpoint, "nn": nn}
    net = run("skorch", "skorch", given | {"Module": lambda: nn.Linear(3, 2)})["net"]
    inputs, targets = map(torch.stack, zip(*rows(), strict=True))
    net.set_params(verbose=0, max_epochs=2).fit(inputs.repeat(2, 1), targets.repeat(2))
    assert (tmp_path / "params.pt").is_file()


def test_the_page_of_fastai(tmp_path: Path):
    pytest.importorskip("fastai.learner", reason="fastai is not installed")
    from fastai.callback.tracker import SaveModelCallback
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from fastai.learner import Learner

    given = {
        "Learner": Learner,
        "SaveModelCallback": SaveModelCallback,
        "dls": DataLoaders(DataLoader(rows(), bs=2), DataLoader(rows(), bs=2), path=tmp_path),
        "model": nn.Linear(3, 2),
        "loss": WEIGHTED,
    }
    learn = run("fastai", "fastai", given)["learn"]
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
    assert learn.recorder.values[-1][-1] == pytest.approx(mean_of(learn.model), rel=1e-6)


def test_every_page_has_a_program():
    pages = {path.stem for path in PAGES.glob("*.md")}
    programs = {name.removeprefix("test_the_page_of_") for name in globals() if "_page_of_" in name}
    assert pages == programs
