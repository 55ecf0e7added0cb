"""A fix removes its mistake, leaves Python, keeps the rest, and finds nothing more to do."""

import ast
from pathlib import Path

import pytest

from batchproof.audit import Settings, audit_text
from batchproof.audit._fixes import fix_report

CORPUS = Path(__file__).parent / "corpus"


def fixed(text, folder):
    content = text.encode()
    report = audit_text(folder / "train.py", content, Settings(folder))
    left, files = fix_report(report, unsafe=False, content=content)
    return (files[0].after.decode() if files else text), left


@pytest.mark.parametrize(
    "name",
    [
        *("graph_kept", "best_by_reference", "clipped_before_unscale"),
        *("mean_of_batch_means", "wrong_divisor", "padding_counted"),
    ],
)
def test_a_corpus_that_was_fixed_parses_and_has_nothing_left_to_fix(name, tmp_path):
    text = (CORPUS / f"{name}.py").read_text()
    after, left = fixed(text, tmp_path)
    ast.parse(after)
    again, _ = fixed(after, tmp_path)
    assert again == after
    assert not [f for f in left.findings if f.finding.fix and f.finding.fix.safe]


@pytest.mark.parametrize("name", ["graph_kept", "best_by_reference"])
def test_all_or_nearly_all_of_these_are_fixed(name, tmp_path):
    rule = name.replace("_", "-")
    _, left = fixed((CORPUS / f"{name}.py").read_text(), tmp_path)
    assert sum(located.finding.name == rule for located in left.findings) <= 3


def test_what_is_only_likely_is_not_rewritten_unless_the_user_asks_for_unsafe_fixes(tmp_path):
    text = """import torch
import torch.nn.functional as F


@torch.no_grad()
def evaluate(model, loader):
    total = 0.0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    total /= len(loader)
    return total
"""
    content = text.encode()
    report = audit_text(tmp_path / "train.py", content, Settings(tmp_path, likely=True))
    assert [f.finding.grade for f in report.findings if f.finding.fix] == ["likely"]
    assert fix_report(report, unsafe=False, content=content)[1] == []
    assert "y.size(0)" in fix_report(report, unsafe=True, content=content)[1][0].after.decode()


LOOP = """\
{imports}

def train(model, loader, optimizer, scaler, validate):
    best = float("inf")
    total = 0
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        {body}
"""


@pytest.mark.parametrize(
    ("body", "after"),
    [
        (
            "loss.backward()\n        optimizer.step()\n        total += loss  # why",
            "loss.backward()\n        optimizer.step()\n        total += loss.detach()  # why",
        ),
        (
            "loss.backward()\n        optimizer.step()\n        total += 2 * loss",
            "loss.backward()\n        optimizer.step()\n        total += (2 * loss).detach()",
        ),
        (
            "loss.backward()\n        optimizer.step()\n        total = total + loss",
            "loss.backward()\n        optimizer.step()\n        total = total + loss.detach()",
        ),
    ],
)
def test_what_is_kept_is_detached(body, after, tmp_path):
    imports = "import torch.nn.functional as F\n"
    text = LOOP.format(imports=imports, body=body)
    assert fixed(text, tmp_path)[0] == LOOP.format(imports=imports, body=after)


def test_weights_are_copied_and_copy_is_imported_once(tmp_path):
    keep = "loss.backward()\n        optimizer.step()\n        if validate(model) < best:\n"
    keep += "            best = validate(model)\n            best_state = {}\n"
    keep += "    model.load_state_dict(best_state)"
    imports = "import torch.nn.functional as F\n"
    after, left = fixed(
        LOOP.format(imports=imports, body=keep.format("model.state_dict()")), tmp_path
    )
    expected = keep.format("copy.deepcopy(model.state_dict())")
    assert after == LOOP.format(imports=f"import copy\n{imports}", body=expected)
    assert left.findings == []


def test_gradients_are_unscaled_before_the_clip(tmp_path):
    imports = "import torch\nimport torch.nn.functional as F\n"
    body = (
        "scaler = torch.amp.GradScaler('cuda')\n        scaler.scale(loss).backward()\n{}"
        "        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)\n"
        "        scaler.step(optimizer)\n        scaler.update()"
    )
    after, left = fixed(LOOP.format(imports=imports, body=body.format("")), tmp_path)
    unscale = "        scaler.unscale_(optimizer)\n"
    assert after == LOOP.format(imports=imports, body=body.format(unscale))
    assert left.findings == []
