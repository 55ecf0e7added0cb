import json
from itertools import islice

import pytest
import torch
from torch.nn import functional as F

import batchproof
from batchproof import MistakeFoundError
from batchproof.watch import Finding, WatchReport, watch
from browser import expect_readable, looked_at

PICTURE = {
    "title": "what each micro-batch counts",
    "rows": [{"label": "1: 8", "share": 0.5, "wanted": 0.8}, {"label": "2: 2", "share": 0.5}],
}
NUMBERS = [
    {
        "label": "loss",
        "examples": [{"text": "loss 0.5", "shown": "0.5", "is": 0.5, "mean": 0.25}],
    }
]
FINDING = Finding(
    "mean-of-micro-batch-means",
    "wrong",
    "train.py:8",
    "Micro-batches of 2 to 8 samples count alike.",
    batchproof.mistakes.mistake("mean-of-micro-batch-means").remedy.code,
    {"picture": PICTURE, "numbers": NUMBERS},
)
NOTE = Finding("last-batch-reported", "note", "train.py:9", "<b>One</b> batch.", "", {})
REPORT = WatchReport((FINDING, NOTE), right=("All is well.",), not_followed=("A loss.",), name="x")


def test_the_report_says_what_is_wrong_then_what_is_right_then_what_was_missed():
    text = str(REPORT)
    order = [
        "1 thing is wrong in x: mean-of-micro-batch-means.",
        "train.py:8  mean-of-micro-batch-means",
        "0.5, not 0.8",
        "Remedy",
        "loss_sum(model, b) / weight",
        "batchproof audit --explain mean-of-micro-batch-means",
        "train.py:9  last-batch-reported (note)",
        "Seen to be right",
        "All is well.",
        "Not followed",
        "A loss.",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text


def test_a_note_gets_no_code_and_no_table_of_means_beside_themselves():
    same = {"label": "loss", "examples": [{"text": "", "shown": "0.5", "is": 0.5, "mean": 0.5}]}
    code = batchproof.mistakes.mistake("last-batch-reported").remedy.code
    note = Finding("last-batch-reported", "note", "a.py:9", "One batch.", code, {"numbers": [same]})
    text = str(WatchReport((note,)))
    assert "as predicted" not in text
    assert code.splitlines()[0] not in text
    assert "divide once" in text


def test_the_json_is_that_of_the_contract(tmp_path):
    content = json.loads(REPORT.to_json(tmp_path / "report.json"))
    assert list(content) == ["schema", "ok", "findings", "steps", "numbers"]
    assert (content["schema"], content["ok"]) == ("batchproof-watch-1", False)
    assert list(content["findings"][0]) == [
        "name", "grade", "place", "sentence", "remedy", "evidence",
    ]  # fmt: skip
    assert json.loads((tmp_path / "report.json").read_text()) == content


def test_what_is_not_finite_is_a_word_in_json():
    finding = Finding("graph-kept", "note", "a.py:1", "s", "r", {"value": float("nan")})
    assert '"value": "nan"' in WatchReport((finding,)).to_json()


def test_the_page_is_readable_on_a_telephone_and_escapes_what_it_shows(tmp_path):
    page = REPORT.to_html(tmp_path / "page.html")
    assert "<b>One</b>" not in page
    assert "<b>One</b>" not in REPORT._repr_html_()
    (seen,) = looked_at([page], tmp_path)
    expect_readable(seen)


def test_a_report_with_a_mistake_is_raised_and_one_with_notes_is_not():
    with pytest.raises(MistakeFoundError, match="mean-of-micro-batch-means"):
        REPORT.raise_if_failed()
    right = WatchReport((NOTE,), right=("All is well.",), name="x")
    right.raise_if_failed()
    assert right.ok
    assert str(right).startswith("Nothing is wrong in x as far as it was followed.")


def test_a_run_without_losses_is_said_to_have_none():
    assert str(WatchReport(())) == (
        "Nothing was seen in this run: it computed no loss that can be followed."
    )


def test_a_judge_that_fails_is_named_and_takes_nothing_else_away(monkeypatch):
    def fails(_):
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("batchproof.watch._numbers.Numbers.findings", fails)
    with watch() as seen:
        F.mse_loss(torch.ones(2), torch.zeros(2))
    report = seen.report()
    assert report.ok
    assert "Not judged: " in report.not_followed[-1]
    assert "ZeroDivisionError: by nothing" in report.not_followed[-1]


def added_at_once(divisor):
    """Train on parts of one tensor whose losses are added, and return the report."""
    torch.manual_seed(0)
    x, y = torch.randn(64, 3), torch.randint(2, (64,))
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch() as seen:
        for _ in range(3):
            losses = [
                F.cross_entropy(model(part), target)
                for part, target in zip(x.split(16), y.split(16), strict=True)
            ]
            (sum(losses) / divisor).backward()
            optimizer.step()
            optimizer.zero_grad()
    return str(seen.report())


def evaluated(batches):
    """Evaluate on the first batches of a loader of four, three times, and return the report."""
    samples = torch.utils.data.TensorDataset(torch.randn(14, 3), torch.zeros(14, 3))
    loader = torch.utils.data.DataLoader(samples, batch_size=4)
    with watch() as seen, torch.no_grad():
        for _ in range(3):
            for x, y in islice(loader, batches):
                F.mse_loss(x, y)
    return seen.report()


def test_an_evaluation_that_always_stops_early_gets_a_note():
    report = evaluated(1)
    assert [(one.name, one.grade) for one in report.findings] == [("samples-left-out", "note")]
    assert "stops after 1 of 4 batches of its loader, in each of 3 passes" in str(report)
    assert not evaluated(4).findings
    assert not evaluated(None).findings


def test_what_was_not_judged_is_said_once():
    model, other = torch.nn.Linear(3, 2), torch.nn.Linear(2, 2)
    optimizers = [torch.optim.SGD(part.parameters(), lr=0.1) for part in (model, other)]
    with watch() as seen:
        losses = [F.mse_loss(other(model(torch.randn(4, 3))), torch.ones(4, 2)) for _ in range(2)]
        sum(losses).backward()
        for optimizer in optimizers:
            optimizer.step()
    assert len(seen.report().not_followed) == 1


def test_losses_added_at_once_without_a_loader_are_said_not_to_be_judged():
    said = "are added in one backward pass"
    assert said in " ".join(added_at_once(1).split())
    assert said not in " ".join(added_at_once(4).split())
