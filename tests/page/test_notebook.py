"""What a notebook shows of results: fragments with a style of their own, in a real browser."""

import html
import json
import re
from typing import Any

import torch
from torch import nn

import batchproof as bp
import browser
from batchproof import explain


def results() -> dict[str, Any]:
    torch.manual_seed(0)
    model, loss = nn.Linear(8, 3), bp.supervised(nn.CrossEntropyLoss())
    batches = [(torch.randn(n, 8), torch.randint(3, (n,))) for n in (5, 5, 2)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = bp.Trainer(model, loss, optimizer, progress=False)
    with bp.watch() as seen:
        for inputs, targets in batches:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()

    def run(model, optimizer, micro_batches):
        return bp.Step(model, optimizer)(micro_batches, loss).loss.item()

    def build():
        torch.manual_seed(0)
        fresh = nn.Linear(8, 3, dtype=torch.float64)
        return fresh, torch.optim.SGD(fresh.parameters(), lr=0.1)

    samples = [(torch.randn(8).double(), torch.tensor(i % 3)) for i in range(4)]
    return {
        "mean": loss(model, batches[0]).terms,
        "history": trainer.fit(batches, batches, max_epochs=2),
        "estimate": bp.evaluate(model, batches, loss, by=lambda batch: batch[1], groups=3),
        "explanation": explain.mean(),
        "report": bp.check_step(run, samples, build=build),
        "watch": seen.report(),
    }


def test_results_are_shown_as_tables_and_pictures_that_leave_the_notebook_as_it_is(tmp_path):
    cells = {name: result._repr_html_() for name, result in results().items()}
    assert "val_loss" in cells["history"]
    assert "<svg" in cells["history"]
    assert "group 2" in cells["estimate"]
    assert "5 element" in cells["mean"]
    assert all("http-equiv" not in cell for cell in cells.values())
    page = (
        "<!doctype html><title></title><body style='font-family: serif; margin: 7px'>"
        "<style>.cell pre { font-family: var(--absent); padding: 0 }</style>"
        f"<div class='cell'>{''.join(cells.values())}</div><p id='own'>text</p><script>"
        "document.title = JSON.stringify([getComputedStyle(document.body).marginLeft, "
        "getComputedStyle(document.getElementById('own')).fontFamily, "
        "getComputedStyle(document.querySelector('h2')).borderBottomStyle, "
        "getComputedStyle(document.querySelector('pre')).fontFamily.split(', ').pop()])</script>"
    )
    title = re.search(r"<title>(.*?)</title>", browser.rendered(page, tmp_path))
    assert title
    assert json.loads(html.unescape(title[1])) == ["7px", "serif", "solid", "monospace"]


def test_a_mean_is_shown_with_its_weight_and_samples_also_where_it_has_no_numbers():
    mean = bp.reduce(torch.tensor([[1.0, 2.0], [3.0, 5.0]]), mask=torch.eye(2).bool())
    cells = re.findall(r"<t[hd]\b[^>]*>(.*?)</t[hd]>", mean._repr_html_())
    assert cells == ["", "value", "weight", "samples", "mean", "3", "2 element", "2"]
    assert "of no numbers" in bp.Mean.zero(device="meta")._repr_html_()
