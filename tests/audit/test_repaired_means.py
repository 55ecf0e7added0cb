"""A mean that was fixed is the mean of all samples, or of all that a mask keeps."""

import ast
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from batchproof.audit import Settings, audit_text
from batchproof.audit._analyse import analyse
from batchproof.audit._fixes import fix_report

HEADER = """\
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


"""


def decided(source, path, project):
    """Return findings as if the code decided each, so that --fix rewrites those that are likely."""
    return [replace(finding, grade="sure") for finding in analyse(source, path, project)]


def findings(text, folder):
    content = text.encode()
    report = audit_text(folder / "train.py", content, Settings(folder), analyse=decided)
    return report, content


def fixed(text, folder):
    """Return the text after --fix; it parses, and a second run has nothing to fix."""
    report, content = findings(text, folder)
    _, files = fix_report(report, unsafe=False, content=content, analyse=decided)
    after = files[0].after.decode() if files else text
    ast.parse(after)
    again, content = findings(after, folder)
    assert fix_report(again, unsafe=False, content=content, analyse=decided)[1] == []
    return after


def rules(text, folder):
    return {located.finding.name for located in findings(text, folder)[0].findings}


def run(text, *arguments):
    names = {}
    exec(compile(text, "train.py", "exec"), names)
    return float(names["evaluate"](*arguments))


def toy():
    """Return a model and ten samples, of which the last two are far off."""
    torch.manual_seed(0)
    x = torch.randn(10, 3)
    y = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    x[8:] *= 20
    return torch.nn.Linear(3, 3), torch.utils.data.TensorDataset(x, y)


def whole_mean(model, data):
    x, y = data.tensors
    with torch.no_grad():
        return float(F.cross_entropy(model(x), y))


BUILT = """\
@torch.no_grad()
def evaluate(model, data):
    loader = DataLoader(data, batch_size=4)
    total = 0.0  # a sum
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item(){size}  # one batch
    return total / len(loader{dataset})
"""
TUPLE = """\
@torch.no_grad()
def evaluate(model, data):
    criterion = nn.CrossEntropyLoss()
    loader = DataLoader(data, batch_size=4, shuffle=True)
    total, correct = 0.0, 0
    for i, (inputs, targets) in enumerate(loader):
        inputs, targets = inputs.to("cpu"), targets.to("cpu")
        outputs = model(inputs)
        loss = criterion(outputs, targets)
        total += loss.detach(){size}
        correct += (outputs.argmax(1) == targets).sum().item()
    total /= len(loader{dataset})
    return total
"""
FLOAT = """\
@torch.no_grad()
def evaluate(model, data):
    loader = DataLoader(data, batch_size=4)
    total = 0
    for batch in loader:
        x, y = batch
        with torch.inference_mode():
            loss = F.cross_entropy(model(x), y, label_smoothing=0.0)
            total += float(loss){size}
    average = total / len(loader{dataset})
    return average
"""
COUNTED = """\
@torch.no_grad()
def evaluate(model, data):
    order = torch.utils.data.SubsetRandomSampler(range(len(data)))
    loader = DataLoader(data, batch_size=4, sampler=order)
    {begun}total = 0.0
    for x, y in loader:
        loss = F.cross_entropy(model(x), y)
        {raised}total += loss.item(){size}
    return total / {divisor}
"""
OUT_OF_SIGHT = """\
@torch.no_grad()
def evaluate(model, loader):
    {begun}total = 0.0
    for x, y in loader:
        loss = F.cross_entropy(model(x), y)
        {raised}total += loss.item(){size}
    return total / {divisor}
"""
WITH_BREAK = """\
@torch.no_grad()
def evaluate(model, data):
    loader = DataLoader(data, batch_size=4)
    {begun}total = 0.0
    for i, (x, y) in enumerate(loader):
        {raised}total += F.cross_entropy(model(x), y).item(){size}
        if i > 100:
            break
    return total / {divisor}
"""
PLAIN_BEFORE = {"size": "", "dataset": "", "begun": "", "raised": "", "divisor": "len(loader)"}
PLAIN_AFTER = {
    "size": " * {target}.size(0)",
    "dataset": ".dataset",
    "begun": "seen = 0\n    ",
    "raised": "seen += y.size(0)\n        ",
    "divisor": "seen",
}


def before_and_after(form, target):
    """Return a form with the mistake, and as the fix writes it."""
    after = {key: value.format(target=target) for key, value in PLAIN_AFTER.items()}
    return HEADER + form.format(**PLAIN_BEFORE), HEADER + form.format(**after)


@pytest.mark.parametrize(
    ("form", "target"),
    [
        pytest.param(BUILT, "y", id="built"),
        pytest.param(TUPLE, "targets", id="tuple"),
        pytest.param(FLOAT, "y", id="float"),
        pytest.param(COUNTED, "y", id="sampler"),
        pytest.param(OUT_OF_SIGHT, "y", id="out of sight"),
        pytest.param(WITH_BREAK, "y", id="break"),
    ],
)
def test_means_of_batches_are_weighted_and_give_the_mean_of_all_samples(form, target, tmp_path):
    text, expected = before_and_after(form, target)
    after = fixed(text, tmp_path)
    assert after == expected
    assert "mean-of-batch-means" not in rules(after, tmp_path)
    model, data = toy()
    fed = torch.utils.data.DataLoader(data, batch_size=4) if form is OUT_OF_SIGHT else data
    assert run(after, model, fed) == pytest.approx(whole_mean(model, data), rel=1e-5)
    if form in (BUILT, FLOAT, OUT_OF_SIGHT):
        assert run(text, model, fed) != pytest.approx(whole_mean(model, data), rel=1e-2)


def test_a_file_keeps_its_line_ends(tmp_path):
    text, expected = before_and_after(COUNTED, "y")
    assert fixed(text.replace("\n", "\r\n"), tmp_path) == expected.replace("\n", "\r\n")


def test_a_counter_takes_a_name_that_is_free(tmp_path):
    text, expected = before_and_after(OUT_OF_SIGHT, "y")
    old, new = "(model, loader)", "(model, loader, seen=0)"
    after = expected.replace("seen", "samples_seen").replace(old, new)
    assert fixed(text.replace(old, new), tmp_path) == after


@pytest.mark.parametrize("divisor", ["len(loader.dataset)", "len(data)"])
def test_means_over_samples_are_weighted_and_the_divisor_stays(divisor, tmp_path):
    form = BUILT.replace("len(loader{dataset})", divisor)
    form = form.replace("    loader", "    data = TensorDataset(*data.tensors)\n    loader", 1)
    text, expected = HEADER + form.format(size=""), HEADER + form.format(size=" * y.size(0)")
    after = fixed(text, tmp_path)
    assert after == expected
    model, data = toy()
    assert run(after, model, data) == pytest.approx(whole_mean(model, data), rel=1e-5)
    assert run(text, model, data) != pytest.approx(whole_mean(model, data), rel=1e-2)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("model(x), y)", "model(x), y, weight=weight)", id="class weights"),
        pytest.param("model(x), y)", "model(x), y, weight)", id="weights by position"),
        pytest.param("model(x), y)", "model(x), y, ignore_index=0)", id="ignore_index"),
        pytest.param("model(x), y)", "model(x), y, ignore_index=-100)", id="ignored by default"),
        pytest.param("model(x), y)", "model(x).transpose(1, 2), y)", id="sequences"),
        pytest.param("model(x), y)", "model(x), y.view(-1))", id="targets reshaped"),
        pytest.param("batch_size=4", "batch_size=4, collate_fn=pad", id="collate_fn"),
        pytest.param("batch_size=4", "batch_size=None", id="batched by the data set"),
        pytest.param("  # one batch", "\n        print(total)", id="shown inside"),
        pytest.param("total += ", "y = y[::2]\n        total += ", id="target thinned"),
        pytest.param("F.cross_entropy", "criterion", id="criterion out of sight"),
    ],
)
def test_no_safe_fix_weighs_what_may_not_be_a_mean_of_samples(old, new, tmp_path):
    text = (HEADER + BUILT.format(size="", dataset="")).replace(old, new)
    text = text.replace("(model, data)", "(model, data, weight, pad, criterion)")
    assert new in text
    assert fixed(text, tmp_path) == text


@pytest.mark.parametrize("option", ["drop_last=True", "sampler=order", "batch_sampler=order"])
def test_means_over_a_data_set_that_is_not_seen_whole_are_not_weighted_safely(option, tmp_path):
    text = HEADER + BUILT.format(size="", dataset=".dataset")
    text = text.replace("batch_size=4", f"batch_size=4, {option}")
    text = text.replace("(model, data)", "(model, data, order)")
    assert fixed(text, tmp_path) == text


MASKED = """\
def evaluate(prediction, target):
    mask = target != 0
    losses = F.mse_loss(prediction, target, reduction="none")
    return {}  # why
"""
CAST = MASKED.replace("target != 0", "target.ne(0).float()")
INLINE = """\
def evaluate(prediction, target):
    valid = (target != 0).float()
    loss = 2 * {}
    return loss / 2
"""
GIVEN = """\
def evaluate(prediction, target, pad_mask):
    losses = F.mse_loss(prediction, target, reduction="none")
    return {}
"""
NAMED = """\
def evaluate(prediction, target, padding_mask):
    losses = F.mse_loss(prediction, target, reduction="none") * padding_mask
    return {}
"""
MSE = 'F.mse_loss(prediction, target, reduction="none")'


def padded():
    """Return predictions, targets of which 0 is padding, and the mean over the others."""
    target = torch.tensor([[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]])
    prediction = torch.zeros(2, 3)
    return prediction, target, (1 + 4 + 9 + 16) / 4


@pytest.mark.parametrize(
    ("form", "before", "after"),
    [
        (MASKED, "(losses * mask).mean()", "(losses * mask).sum() / mask.sum().clamp(min=1)"),
        (CAST, "(mask * losses).mean()", "(mask * losses).sum() / mask.sum().clamp(min=1)"),
        (
            MASKED,
            "losses.masked_fill(~mask, 0).mean()",
            "losses.masked_fill(~mask, 0).sum() / mask.sum().clamp(min=1)",
        ),
        (
            MASKED,
            "(losses * mask).mean().sqrt() ** 2",
            "((losses * mask).sum() / mask.sum().clamp(min=1)).sqrt() ** 2",
        ),
        (INLINE, f"({MSE} * valid).mean()", f"(({MSE} * valid).sum() / valid.sum().clamp(min=1))"),
        (
            GIVEN,
            "(losses * pad_mask).mean()",
            "(losses * pad_mask).sum() / pad_mask.expand_as(losses).sum().clamp(min=1)",
        ),
        (
            NAMED,
            "losses.mean()",
            "losses.sum() / padding_mask.expand_as(losses).sum().clamp(min=1)",
        ),
    ],
)
def test_masked_losses_are_divided_by_the_mask(form, before, after, tmp_path):
    text = fixed(HEADER + form.format(before), tmp_path)
    assert text == HEADER + form.format(after)
    assert "padding-counted" not in rules(text, tmp_path)
    prediction, target, mean = padded()
    masks = [target != 0] if form in (GIVEN, NAMED) else []
    assert run(text, prediction, target, *masks) == pytest.approx(mean)
    wrong = run(HEADER + form.format(before), prediction, target, *masks)
    assert wrong == pytest.approx(mean * 4 / 6)


def test_a_mask_that_is_broadcast_is_counted_for_every_loss(tmp_path):
    text = fixed(HEADER + GIVEN.format("(losses * pad_mask).mean()"), tmp_path)
    prediction, target = torch.zeros(2, 3), torch.tensor([[3.0] * 3, [5.0] * 3])
    assert run(text, prediction, target, torch.tensor([[1.0], [0.0]])) == 9


def test_losses_of_which_a_mask_keeps_none_stay_zero(tmp_path):
    text = fixed(HEADER + MASKED.format("(losses * mask).mean()"), tmp_path)
    assert run(text, torch.ones(2, 3), torch.zeros(2, 3)) == 0


@pytest.mark.parametrize(
    "mean",
    [
        "(losses * pad_mask.unsqueeze(-1)).mean()",
        "(losses * pad_mask[..., None]).mean()",
        f"({MSE} * pad_mask).mean()",
        "losses.masked_fill(pad_mask[:, None], 0).mean()",
    ],
)
def test_no_safe_fix_divides_by_a_mask_of_a_shape_that_is_out_of_sight(mean, tmp_path):
    text = HEADER + GIVEN.format(mean)
    assert fixed(text, tmp_path) == text
    assert not any(
        located.finding.fix and located.finding.fix.safe
        for located in findings(text, tmp_path)[0].findings
    )
