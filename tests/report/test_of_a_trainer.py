import torch

import batchproof as bp
from batchproof.report import write_report


def test_the_report_of_a_trainer_shows_what_its_history_holds(tmp_path):
    torch.manual_seed(0)
    inputs = torch.randn(50, 4)
    targets = (inputs[:, 0] > 0).long()
    batches = list(zip(inputs.split(8), targets.split(8), strict=True))
    model = torch.nn.Linear(4, 2)
    trainer = bp.Trainer(
        model,
        bp.supervised(torch.nn.CrossEntropyLoss()),
        torch.optim.SGD(model.parameters(), lr=0.5),
        run_dir=tmp_path / "run",
        log_every=2,
        progress=False,
    )
    history = trainer.fit(batches[:5], batches[5:], max_epochs=3)
    best = history.best
    page = write_report([tmp_path / "run"], tmp_path / "report.html").read_text()
    assert f"Best: epoch {best.epoch}, val_loss {best.value:.6g}" in page
    for part in (
        "train_loss between log lines",
        "where the time went",
        "settings.log_every",
        torch.__version__,
    ):
        assert part in page
