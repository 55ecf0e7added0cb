"""What the rest of a file says decides where callers, or the use of a loader, are out of sight."""

import pytest

from batchproof.audit import audit_text
from batchproof.audit._settings import Settings

_EVALUATION = '''
import torch


def evaluate(loader, model, device):
    """Return the mean loss."""
    model.eval()
    total = 0
    for data in loader:
        _, loss = model(data.to(device))
        total += loss.item() * len(data)
    return total / len(loader.dataset)
'''
_AROUND = """
def run(loader, model):
    with torch.no_grad():
        print(evaluate(loader, model, 0))
"""
_ATTACK = """
def attack(loss, x):
    return torch.autograd.grad(loss, x)
"""
_LOADERS = """
import torch
from torch.utils.data import DataLoader


def loaders(train_set, val_set, size):
    train_sampler = torch.utils.data.distributed.DistributedSampler(train_set)
    val_sampler = torch.utils.data.distributed.DistributedSampler(val_set, shuffle=False)
    train = DataLoader(train_set, batch_size=size, sampler=train_sampler, drop_last=True)
    val = DataLoader(val_set, batch_size=size, sampler=val_sampler)
    return train, val
"""
_BY_KEY = """
def predict(model, loader, predictions):
    for ids, x in loader:
        for key, output in zip(ids, model(x)):
            predictions[key] = output
"""


def _found(text, name, folder):
    report = audit_text(folder / "engine.py", text, Settings(folder, likely=True))
    findings = [f.finding for f in report.findings if f.finding.name == name]
    return [(f.line, f.grade) for f in findings]


def test_a_file_that_never_switches_autograd_is_surely_wrong(tmp_path):
    assert _found(_EVALUATION, "evaluation-with-grad", tmp_path) == [(10, "sure")]


def test_a_file_that_switches_autograd_may_do_so_around_it(tmp_path):
    found = _found(f"{_EVALUATION}\n{_AROUND}", "evaluation-with-grad", tmp_path)
    assert found in ([], [(10, "likely")])


_GUARDED = """
@torch.no_grad()
def sample(model, start):
    return model(start).argmax(1)
"""


def test_the_decorator_of_another_function_guards_that_one_alone(tmp_path):
    found = _found(f"{_EVALUATION}\n{_GUARDED}", "evaluation-with-grad", tmp_path)
    assert found == [(10, "sure")]


def test_a_decorator_of_a_function_that_leads_to_the_evaluation_guards_it(tmp_path):
    text = _GUARDED.replace("model(start)", "evaluate(start, model, 0)")
    found = _found(f"{_EVALUATION}\n{text}", "evaluation-with-grad", tmp_path)
    assert found in ([], [(10, "likely")])


_DRAWS = """
import torch
import numpy as np


criterion = torch.nn.CrossEntropyLoss()


def test(model, writer, steps):
    classes = lambda scores: scores.detach().numpy().argmax(1)
    model.eval()
    shares = []
    for step in range(steps):
        x, y = draw()
        output = model(x)
        shares.append((classes(output) == y).mean())
    print(np.mean(shares))
"""


@pytest.mark.parametrize(
    "change",
    [
        ("classes(", "classes("),
        ("shares.append((classes(output) == y).mean())", "writer.add_scalar('x', output[0], step)"),
    ],
)
def test_outputs_that_a_lambda_or_a_writer_takes_are_numbers(tmp_path, change):
    assert _found(_DRAWS.replace(*change), "evaluation-with-grad", tmp_path) == [(15, "sure")]


@pytest.mark.parametrize(
    "change",
    [
        ("scores.detach().numpy().argmax(1)", "2 * scores"),
        ("shares.append((classes(output) == y).mean())", "bank.keep(output, step)"),
        ("shares.append((classes(output) == y).mean())", "shares.append(bank.add(output.log()))"),
    ],
)
def test_outputs_that_leave_with_their_graphs_are_right(tmp_path, change):
    text = _DRAWS.replace(*change).replace("print(np.mean(shares))", "return shares")
    text = text.replace("(classes(output) == y).mean()", "classes(output)")
    assert not _found(text, "evaluation-with-grad", tmp_path)


def test_gradients_that_another_function_asks_for_are_none_of_numbers(tmp_path):
    found = _found(f"{_EVALUATION}\n{_ATTACK}", "evaluation-with-grad", tmp_path)
    assert found == [(10, "sure")]


_READS = """
def show(model, optimizer):
    for p in filter(lambda p: p.requires_grad, model.parameters()):
        print(p.grad.norm(), upgrade(p))  # the probabilities make grads too small
"""


def test_a_file_that_only_reads_gradients_switches_nothing(tmp_path):
    found = _found(f"{_EVALUATION}\n{_READS}", "evaluation-with-grad", tmp_path)
    assert found == [(10, "sure")]


def test_data_that_is_cut_before_its_sampler_holds_each_sample_once(tmp_path):
    cut = _LOADERS.replace(
        "    train_sampler", "    train_set = train_set[:size]\n    train_sampler"
    )
    assert _found(cut, "duplicated-samples", tmp_path) == [(9, "sure")]


def test_a_sampler_of_held_out_data_repeats_samples(tmp_path):
    assert _found(_LOADERS, "duplicated-samples", tmp_path) == [(8, "sure")]


@pytest.mark.parametrize(
    "text",
    [
        _LOADERS.replace("shuffle=False", "shuffle=False, drop_last=True"),
        _LOADERS.replace("sampler=val_sampler", "sampler=val_sampler, drop_last=True"),
        _LOADERS.replace("val_set", "data").replace("val_sampler", "other"),
        _LOADERS + _BY_KEY,
    ],
)
def test_a_sampler_whose_repeats_count_nowhere_is_right(tmp_path, text):
    assert not _found(text, "duplicated-samples", tmp_path)


_SCRIPT = """
import torch
import torchvision
from torch import nn


class Net(nn.Module):
    def __init__(self, dropout=0.1):
        super().__init__()
        self.cell = nn.LSTM(8, 8, num_layers=2, dropout=dropout)
        self.out = nn.Linear(8, 2)

    def forward(self, x):
        return self.out(self.cell(x)[0])


def right(net, loader):
    hits = 0
    with torch.no_grad():
        for x, y in loader:
            hits += (net(x).argmax(1) == y).sum().item()
    return hits


model = MODEL
model.load_state_dict(torch.load("weights.pt"))
print(right(model, test_loader))
"""


@pytest.mark.parametrize("model", ["Net()", "torchvision.models.resnet18(pretrained=True)"])
def test_a_model_begins_in_training_mode(tmp_path, model):
    text = _SCRIPT.replace("MODEL", model)
    assert _found(text, "evaluation-in-train-mode", tmp_path) == [(21, "sure")]


@pytest.mark.parametrize(
    "text",
    [
        _SCRIPT.replace("MODEL", "Net()").replace("print(", "model.eval()\nprint("),
        _SCRIPT.replace("MODEL", "Net()").replace("print(", "prepare(model)\nprint("),
        _SCRIPT.replace("MODEL", "nn.Sequential(nn.Flatten(), nn.Linear(8, 2))"),
        _SCRIPT.replace("MODEL", "Net()").replace("right(", "update_bn("),
    ],
)
def test_a_model_without_modes_or_that_may_be_switched_is_right(tmp_path, text):
    assert not _found(text, "evaluation-in-train-mode", tmp_path)


_UNUSED = """


def predict(net, x):
    net.eval()
    return net(x)
"""


@pytest.mark.parametrize(("call", "found"), [("", [(21, "sure")]), ("\npredict(model, x)", [])])
def test_a_function_that_nothing_calls_switches_nothing(tmp_path, call, found):
    text = _SCRIPT.replace("MODEL", "Net()") + _UNUSED
    trained = "optimizer.zero_grad()\nnn.MSELoss()(model(a), b).backward()\noptimizer.step()\n"
    loop = "for a, b in loader:\n    " + trained.replace("\n", "\n    ").rstrip(" ")
    text = text.replace("print(", loop + call + "\nprint(")
    lines = [(line, grade) for line, grade in found]
    assert _found(text, "evaluation-in-train-mode", tmp_path) == lines


_COLLATOR = """
import torch
from torch.utils.data import DataLoader


def collate(texts):
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    batch["labels"] = batch["input_ids"].clone()
    return batch


for batch in DataLoader(texts, batch_size=2, collate_fn=collate):
    loss = model(**batch).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
"""
_CALL = """
for texts in loader:
    batch = tokenizer(texts, padding="longest", return_tensors="pt")
    loss = model(input_ids=batch["input_ids"], labels=batch["input_ids"]).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
"""


_TARGETS = """
class Pairs(Dataset):
    def __getitem__(self, index):
        source = self.tokenizer(self.sources[index], padding="max_length", return_tensors="pt")
        target = self.tokenizer(self.targets[index], padding="max_length", return_tensors="pt")
        labels = target["input_ids"].flatten()
        return {"input_ids": source["input_ids"].flatten(), "labels": labels}


model.config.pad_token_id = tokenizer.pad_token_id
for batch in DataLoader(Pairs(), batch_size=8):
    loss = model(**batch).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
"""
_POSITION = """
ids = tokenizer(texts, padding=True, return_tensors="pt").input_ids
for batch in DataLoader(TensorDataset(ids, masks), batch_size=8):
    b_input_ids = batch[0].to(device)
    b_labels = batch[0].to(device)
    loss = model(b_input_ids, labels=b_labels, attention_mask=batch[1].to(device))[0]
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
"""


@pytest.mark.parametrize(
    ("text", "line"), [(_COLLATOR, 8), (_CALL, 4), (_TARGETS, 7), (_POSITION, 6)]
)
def test_padded_ids_are_no_labels(tmp_path, text, line):
    assert _found(text, "padding-counted", tmp_path) == [(line, "sure")]


@pytest.mark.parametrize(
    "text",
    [
        _COLLATOR.replace(
            "    return", "    batch['labels'][batch['labels'] == 0] = -100\n    return"
        ),
        _COLLATOR.replace("padding=True, ", ""),
        _CALL.replace("labels=batch", "labels=targets"),
        _CALL + "collator = DataCollatorForLanguageModeling(tokenizer, mlm=False)\n",
        _TARGETS.replace('self.targets[index], padding="max_length"', "self.targets[index]"),
        _TARGETS.replace("        return", "        labels[labels == 0] = -9\n        return"),
        _POSITION.replace("b_labels = batch[0]", "b_labels = batch[2]"),
    ],
)
def test_labels_without_padding_are_right(tmp_path, text):
    assert not _found(text, "padding-counted", tmp_path)


def test_a_dict_that_holds_a_graph_is_not_rewritten(tmp_path):
    text = "for x, y in loader:\n    loss = criterion(model(x), y)\n    loss.backward()\n"
    text = f"import torch\n{text}    optimizer.step()\n    history.append({{'loss': loss}})\n"
    report = audit_text(tmp_path / "train.py", text, Settings(tmp_path, likely=True))
    fixes = [f.finding.fix for f in report.findings if f.finding.name == "graph-kept"]
    assert fixes == [None]


_INFERENCE = """
import torch

model = Net()
model.load_state_dict(torch.load("weights.pt"))
model.eval()
for name in names:
    output = model(read(name).unsqueeze(0))
    prediction = output.argmax(1).item()
    loss_of_labels = labels[prediction]
    print(name, loss_of_labels)
"""


def test_a_loop_over_files_needs_no_graph(tmp_path):
    text = f"{_INFERENCE}\nloss = criterion(0)\n"
    assert _found(text, "evaluation-with-grad", tmp_path) == [(8, "sure")]


_PREDICTIONS = """
import torch

model = Net()
model.eval()
right = 0
for x, y in val_loader:
    right += (model(x).argmax(1) == y).sum().item()
print(right)
"""
_FREEZING = """
for weight in model.parameters():
    weight.requires_grad = False
"""


def test_weights_that_are_frozen_later_have_a_graph_before(tmp_path):
    after = _found(_PREDICTIONS + _FREEZING, "evaluation-with-grad", tmp_path)
    before = _found(_PREDICTIONS.replace("right = 0", _FREEZING), "evaluation-with-grad", tmp_path)
    assert (after, before) == ([(8, "sure")], [])


@pytest.mark.parametrize(
    "text",
    [
        _INFERENCE.replace("    prediction", "    output.max().backward()\n    prediction"),
        _INFERENCE.replace("for name", "torch.set_grad_enabled(False)\nfor name"),
        _INFERENCE.replace("    prediction", "    keep(output)\n    prediction"),
    ],
)
def test_a_loop_that_uses_or_switches_graphs_is_right(tmp_path, text):
    assert not _found(f"{text}\nloss = criterion(0)\n", "evaluation-with-grad", tmp_path)
