"""The interpretation of code that is broken, hostile or enormous: it ends, and raises nothing."""

import ast
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchproof.audit._analyse import analyse
from batchproof.audit._dimensions._interpreter import interpret
from batchproof.audit._dimensions._machine import EFFORT
from batchproof.audit._project import Source
from batchproof.audit._reading import UnreadableError, parse, parse_rest

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.py"))
TEXTS = [path.read_text() for path in CORPUS]


def findings(text):
    return analyse(Source(Path("train.py"), text, ast.parse(text)), "train.py")


class Mutation(ast.NodeTransformer):
    """Swaps, drops and doubles parts of a tree, as a stream of numbers says."""

    def __init__(self, numbers, parts):
        self.numbers, self.parts = iter(numbers), parts

    def generic_visit(self, node):
        super().generic_visit(node)
        choice = next(self.numbers, 99)
        if isinstance(node, ast.expr) and choice < 3 and not isinstance(node, ast.Starred):
            stored = isinstance(getattr(node, "ctx", None), ast.Store | ast.Del)
            return node if stored else self.parts[choice * 7 % len(self.parts)]
        if (
            isinstance(node, ast.stmt)
            and choice in {3, 4}
            and not isinstance(node, ast.FunctionDef)
        ):
            return ast.Pass() if choice == 3 else [node, node]
        return node


@given(st.integers(0, len(TEXTS) - 1), st.lists(st.integers(0, 60), max_size=400))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_mutated_code_is_read_to_its_end(which, numbers):
    tree = ast.parse(TEXTS[which])
    parts = [
        n for n in ast.walk(ast.parse(TEXTS[which - 1])) if type(n) in {ast.Call, ast.Constant}
    ]
    text = ast.unparse(ast.fix_missing_locations(Mutation(numbers, parts).visit(tree)))
    try:
        source = Source(Path("train.py"), text, ast.parse(text))
    except SyntaxError:
        return
    lines = text.count("\n") + 1
    assert all(1 <= finding.line <= lines for finding in analyse(source, "train.py"))


@given(st.integers(0, len(TEXTS) - 1), st.data())
@settings(max_examples=15, deadline=None)
def test_code_that_lost_lines_is_read_to_its_end(which, data):
    lines = TEXTS[which].splitlines()
    first = data.draw(st.integers(0, len(lines)))
    last = data.draw(st.integers(first, min(len(lines), first + 12)))
    text = "\n".join(lines[:first] + lines[last:])
    try:
        ast.parse(text)
    except SyntaxError:
        return
    lines = text.count("\n") + 1
    assert all(1 <= finding.line <= lines for finding in findings(text))


def test_functions_that_call_each_other_end():
    text = (
        "def a(loss, loader):\n    for x in loader:\n        b(loss, loader)\n"
        "def b(loss, loader):\n    for x in loader:\n        a(loss, loader)\n"
        "a(1, 2)\n"
    )
    assert findings(text) == []


def test_calls_that_branch_at_every_level_are_followed_within_the_effort():
    levels = [f"def f{n}(loss):\n" + f"    f{n + 1}(loss)\n" * 20 for n in range(12)]
    text = "\n".join([*levels, "def f12(loss):\n    loss.backward()\n", "f0(1)\n"])
    traces = interpret(Path("train.py"), ast.parse(text), None, text)
    assert sum(len(trace.events) for trace in traces) <= EFFORT


@pytest.mark.parametrize(
    "text",
    [
        "total = " + " + ".join(["loss"] * 900) + "\nloss.backward()",
        "loss.backward()\n"
        + "".join(f"{'    ' * n}if loss:\n" for n in range(60))
        + "    " * 60
        + "pass",
        "for x in loader:\n    loss(" + "x.a" + ".b" * 300 + ")",
        "loss.backward()\n" + "x = [" + "(" * 80 + "1" + ")" * 80 + "]",
    ],
    ids=["sum", "ifs", "attributes", "brackets"],
)
def test_deep_nesting_is_read_to_its_end(text):
    assert findings(text) == []


def test_a_long_file_is_read_within_the_effort():
    text = "import torch\n" + "loss = torch.nn.functional.mse_loss(a, b)\nloss.backward()\n" * 4_000
    assert findings(text) == []


UNSWITCHED = """
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.last = nn.Linear(3, 3), nn.LAST

    def forward(self, x):
        return self.last(self.layer(x))

def run(data, held_out):
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for x, y in DataLoader(data, batch_size=8):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    right = 0
    with torch.no_grad():
        for x, y in DataLoader(held_out, batch_size=8):
            right += (net(x).argmax(1) == y).sum().item()
    return right / len(held_out)
"""


@pytest.mark.parametrize(
    ("last", "names"), [("Dropout(0.5)", ["evaluation-in-train-mode"]), ("ReLU()", [])]
)
def test_a_model_whose_mode_no_line_sets_is_evaluated_in_training_mode(last, names):
    assert [f.name for f in findings(UNSWITCHED.replace("LAST", last))] == names


NESTED = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(28, 10)

    def forward(self, x):
        return self.last(x)

def {name}(train_loader, test_loader):
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in train_loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x.{asks}), y).backward()
        optimizer.step()
        correct = total = 0
        for inputs, labels in test_loader:
            _, predicted = torch.max(model(inputs).data, 1)
            total += labels.size(0)
            correct += (predicted == labels).sum()
        print(100 * correct / total)
"""


@pytest.mark.parametrize("name", ["run", "train"])
@pytest.mark.parametrize("asks", ["float()", "requires_grad_()", "requires_grad_(True)"])
def test_outputs_belong_to_the_loop_that_calls_the_model(asks, name):
    """A model in sight is read once; what it gives an inner loop is no part of the outer one."""
    found = findings(NESTED.replace("{asks}", asks).replace("{name}", name))
    assert [(f.line, f.name) for f in found] == [(22, "evaluation-with-grad")]


def test_code_of_older_pythons_is_read_with_every_node_in_its_place():
    text = """
import torch.nn.functional as F
def test(model, loader):
    total = 0
    for x, y in loader:
        total += F.cross_entropy(model(x.cuda(async=True)), y).item()
    print 'loss', total / len(loader.dataset)
    if total: print total / len(loader.dataset)
    try:
        print >>log, total / len(loader.dataset)
    except (IOError, ValueError), error:
        raise RuntimeError, "not written"
"""
    found = analyse(Source(Path("train.py"), text, parse(text)), "train.py")
    assert {(f.line, f.column) for f in found if f.name == "wrong-divisor"} == {
        (7, 19),
        (8, 21),
        (10, 22),
    }


def test_a_script_with_the_magics_of_a_shell_is_read_with_every_node_in_its_place():
    text = """
%matplotlib inline
!pip install torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
def test(model, data):
    %time loader = 0
    loader = DataLoader(data, batch_size=64)
    total = 0
    for x, y in loader:
        total += F.cross_entropy(model(x), y).item()
    return total / len(loader)
"""
    found = analyse(Source(Path("train.py"), text, parse(text)), "train.py")
    assert [(f.line, f.column, f.name) for f in found] == [(12, 12, "mean-of-batch-means")]


@pytest.mark.parametrize(
    ("broken", "lines"),
    [
        ("def show(x):\n    exec 'x = 1' in {}\n", "1 to 2"),
        ("@wrapper\ndef show(x):\n    '''\nx y\n'''\n    return 0777\n", "1 to 6"),
        ("lengths = map(lambda (x, y): len(x), pairs)\n", "1 to 1"),
        ("for x in loader:\n# to be written\n", "1 to 2"),
    ],
)
def test_what_is_not_python_is_left_out_and_the_rest_is_read(broken, lines):
    rest = "import torch\n\n\ndef f(x):\n    return '''\na b\n'''\n"
    alone, faults = parse_rest(broken + rest)
    assert [type(node) for node in alone.body] == [ast.Import, ast.FunctionDef]
    assert alone.body[0].lineno == broken.count("\n") + 1
    ((line, reason),) = faults
    assert reason.startswith("invalid syntax") or "leading zeros" in reason or "expected" in reason
    assert reason.endswith(f"; lines {lines} are not read")
    assert line <= broken.count("\n") + 1


def test_a_file_of_two_versions_is_not_read():
    text = "x = 1\n<<<<<<< HEAD\ny = 1\n=======\ny = 2\n>>>>>>> main\n"
    with pytest.raises(UnreadableError):
        parse_rest(text)


TOKENS = """
import torch
SIGN
def train(model, loader, optimizer, args):
    for i, batch in enumerate(loader):
        loss = model(**batch).loss / args.accumulation_steps
        loss.backward()
        if (i + 1) % args.accumulation_steps == 0 or i + 1 == len(loader):
            optimizer.step()
            optimizer.zero_grad()
"""


@pytest.mark.parametrize(
    ("sign", "grade"),
    [
        ("", "likely"),
        ("limits = [-100, 100]", "likely"),
        ("labels[labels == 0] = -100", "sure"),
        ("collate = DataCollatorForSeq2Seq(tokenizer)", "sure"),
    ],
)
def test_targets_that_are_marked_make_a_mean_over_tokens_sure(sign, grade):
    found = findings(TOKENS.replace("SIGN", sign))
    assert [f.grade for f in found if f.name == "mean-of-micro-batch-means"] == [grade]


OLD = """
import torch.nn.functional as F
from torch import optim
from torch.optim.lr_scheduler import StepLR
SIGN
def train(model, loader):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = StepLR(optimizer, step_size=10)
    for _ in range(10):
        scheduler.step()
        for x, y in loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
"""


@pytest.mark.parametrize(
    ("sign", "grade"),
    [
        ("", "sure"),
        ("x = Variable(x); criterion = MSELoss(size_average=True)", "sure"),
        ("print(loss.data[0])", "likely"),
        ("finder = FindLR(scheduler)", "likely"),
    ],
)
def test_a_schedule_first_is_wrong_in_every_torch_that_runs_the_file(sign, grade):
    assert [f.grade for f in findings(OLD.replace("SIGN", sign))] == [grade]


_EXERCISE = """
{imports}

def run(net, trainx, trainy, valx, valy, step):
    net.train()
    for x, y in train_loader:
        loss = criterion(net(x), y)
        loss.backward()
        {steps}
    net.eval()
    errors = 0
    for x, y in val_loader:
        errors += criterion(net(x), y).item()
    print(errors)
"""


@pytest.mark.parametrize(
    ("imports", "grades"),
    [
        ("import numpy as np\nimport torch", {"sure"}),
        ("import numpy as np", {"likely"}),
        ("import numpy as np\nimport paddle", set()),
        ("import numpy as np\nimport jax\nimport torch", {"sure"}),
    ],
)
def test_an_evaluation_with_grad_needs_the_autograd_of_torch(imports, grades):
    text = _EXERCISE.format(imports=imports, steps="pass")
    assert {f.grade for f in findings(text) if f.name == "evaluation-with-grad"} == grades


@pytest.mark.parametrize(
    ("imports", "grade"),
    [("import numpy as np", "likely"), ("import numpy as np\nimport torch", "sure")],
)
def test_gradients_that_a_module_of_numpy_writes_may_need_no_zeroing(imports, grade):
    text = _EXERCISE.format(imports=imports, steps="optimizer.step()")
    assert [f.grade for f in findings(text) if f.name == "gradients-not-zeroed"] == [grade]


def test_gradients_that_another_framework_clears_are_not_missed():
    text = _EXERCISE.format(
        imports="import paddle", steps="optimizer.step()\n        optimizer.clear_grad()"
    )
    assert not findings(text)
    assert findings(text.replace("paddle", "torch").replace("clear_grad", "clear"))


IGNITE = """
import torch
from ignite.engine import Engine

def inference(model, loader, metric):
    def process(engine, batch):
        x, y = batch
        CONTEXT
            return model(x), y

    model.eval()
    evaluator = Engine(process)
    metric.attach(evaluator, "accuracy")
    evaluator.run(loader)

def train(model, loader, optimizer, criterion):
    def process(engine, batch):
        x, y = batch
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    model.train()
    Engine(process).run(loader)

inference(torch.load("model.pt"), torch.load("loader.pt"), None)
"""


@pytest.mark.parametrize(
    ("context", "places"),
    [("if True:", [(9, "evaluation-with-grad", "sure")]), ("with torch.no_grad():", [])],
)
def test_an_ignite_engine_evaluates_where_its_process_function_does(context, places):
    found = findings(IGNITE.replace("CONTEXT", context))
    assert [(f.line, f.name, f.grade) for f in found] == places


LIGHTNING = """
import torch
import torch.nn.functional as F
from lightning import LightningDataModule, LightningModule, Trainer
from torch.utils.data import DataLoader

class Net(LightningModule):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def validation_step(self, batch, index):
        x, y = batch
        return {"loss": F.cross_entropy(self.net(x), y)}

    def validation_epoch_end(self, steps):
        self.log("loss", torch.stack([step["loss"] for step in steps]).mean())
"""
DATA = """
class Data(LightningDataModule):
    def __init__(self, folder, batch_size):
        super().__init__()
        self.folder, self.batch_size = folder, batch_size

    def setup(self, stage):
        self.val = torch.load(self.folder)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=self.batch_size DROP)
"""
FIT = """
loader = DataLoader(torch.load("train.pt"), batch_size=8, shuffle=True)
val_loader = DataLoader(torch.load("val.pt"), batch_size=8 DROP)
Trainer(max_epochs=3).fit(Net(torch.load("net.pt")), loader, val_loader)
"""


@pytest.mark.parametrize(
    ("rest", "grades"),
    [
        ("", ["likely"]),
        (DATA.replace("DROP", ""), ["sure"]),
        (DATA.replace("DROP", ", drop_last=True"), []),
        (DATA.replace("DROP", "") + DATA.replace("DROP", "").replace("Data(", "B("), ["likely"]),
        (FIT.replace("DROP", ""), ["sure"]),
        (FIT.replace("DROP", ", drop_last=True"), []),
    ],
    ids=["neither", "data", "dropping", "either", "fit", "fit dropping"],
)
def test_the_loader_of_a_module_is_that_of_its_trainer_or_of_the_only_data_module(rest, grades):
    assert [f.grade for f in findings(LIGHTNING + rest)] == grades


_STEP_OF_A_BATCH = """
import torch
def push(loss, accum_grad):
    (loss / accum_grad).backward()
def update(model, optimizer, state, batch_idx, accum_grad, last):
    if {test}:
        optimizer.step()
        optimizer.zero_grad()
"""
_AFTER = """
def finish(optimizer):
    optimizer.step()
"""


@pytest.mark.parametrize(
    ("test", "rest", "names"),
    [
        ("(batch_idx + 1) % accum_grad == 0", "", ["leftover-window"]),
        ("(batch_idx + 1) % state.accumulation_steps == 0", "", ["leftover-window"]),
        ("(batch_idx + 1) % accum_grad == 0", _AFTER, []),
        ("(batch_idx + 1) % accum_grad == 0 or last", "", []),
        ("state.step % accum_grad == 0", "", []),
        ("(batch_idx + 1) % state.log_every == 0", "", []),
    ],
)
def test_a_function_that_steps_by_the_index_of_a_batch_leaves_the_rest(test, rest, names):
    text = _STEP_OF_A_BATCH.format(test=test) + rest
    assert [finding.name for finding in findings(text)] == names
