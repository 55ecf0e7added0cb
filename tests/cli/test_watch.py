"""`batchproof watch` runs a script as Python runs it, and says what was seen however it ends."""

import json
import signal
import subprocess
import sys

import pytest

from command_line import environment, shell

TRAIN = """\
import torch
from torch.nn import functional as F
torch.manual_seed(0)
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(3):
    losses = []
    for size in (4, 4, 1):
        loss = F.mse_loss(model(torch.randn(size, 2)), torch.zeros(size, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"epoch {epoch} loss {sum(losses) / len(losses):.6f}", flush=True)
"""
SEEN = "1 thing is wrong in train.py: mean-of-batch-means."


def watched(tmp_path, script, *arguments, options=()):
    (tmp_path / "train.py").write_text(script)
    line = ("-m", "batchproof", "watch", *options, "train.py", *arguments)
    return shell(*line, cwd=tmp_path)


@pytest.mark.parametrize(
    ("end", "status", "error"),
    [
        ("", 1, ""),
        ("raise RuntimeError('boom')", 1, "RuntimeError: boom\n"),
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit('no data')", 1, "no data\n"),
        ("import os; os._exit(3)", 3, ""),
        ("import os; os.kill(os.getpid(), 2); import time; time.sleep(9)", 130, "Interrupt\n"),
        ("import os; os.kill(os.getpid(), 15); import time; time.sleep(9)", -15, ""),
        ("import sys; sys.stdout.buffer.write(bytes([200, 10, 7, 0]))", 1, ""),
        ("import torch.nn.functional as G; G.mse_loss = None", 1, ""),
    ],
    ids=["ends", "fails", "exits", "message", "_exit", "SIGINT", "SIGTERM", "binary", "patches"],
)
def test_what_was_seen_is_said_however_the_script_ends(tmp_path, end, status, error):
    (tmp_path / "train.py").write_text(f"{TRAIN}{end}\n")
    done = subprocess.run(
        [sys.executable, "-m", "batchproof", "watch", "train.py"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status
    assert done.stdout.decode(errors="replace").count(SEEN) == 1
    assert done.stderr.decode().endswith(error)
    assert [path.name for path in tmp_path.iterdir()] == ["train.py"]


def test_a_traceback_is_the_scripts_own(tmp_path):
    (tmp_path / "alone.py").write_text("def f():\n    raise ValueError(0.25)\nf()\n")
    alone = shell("alone.py", cwd=tmp_path)
    seen = watched(tmp_path, (tmp_path / "alone.py").read_text())
    assert seen.err == alone.err.replace("alone.py", "train.py")
    assert seen.status == alone.status
    # its number was shown by Python, not by the script
    assert "matched nothing" not in seen.out


PROGRAM = """\
import atexit, multiprocessing, os, pickle, signal, sys

def square(x):
    return x * x

if __name__ == "__main__":
    atexit.register(lambda: print("bye", square(3)))
    pid = os.fork()
    if pid == 0:
        sys.exit(5)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    for kind in ("fork", "spawn"):
        with multiprocessing.get_context(kind).Pool(1) as pool:
            print(kind, pool.map(square, [1, 2]))
    print(sys.argv, __file__, __name__, __spec__, sys.path[0], pickle.loads(pickle.dumps(square)))
    print(sys.modules["__main__"].__dict__ is globals(), __builtins__ is not None)
"""


def test_a_script_finds_everything_as_it_would_alone(tmp_path):
    (tmp_path / "train.py").write_text(PROGRAM)
    alone = shell("train.py", "--json", "-m", "x", cwd=tmp_path)
    seen = watched(tmp_path, PROGRAM, "--json", "-m", "x")
    lines = [line.partition(" at 0x")[0] for line in alone.out.splitlines()]
    assert len(lines) >= 6
    found = [line.partition(" at 0x")[0] for line in seen.out.splitlines()]
    assert [line for line in found if line and "Nothing was seen" not in line] == lines
    assert (seen.status, seen.err) == (0, "")


def test_a_module_is_run_as_python_runs_it(tmp_path):
    package = tmp_path / "work"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "other.py").write_text("value = 3\n")
    body = "import sys\nfrom . import other\nprint(sys.argv, __package__, other.value)\n"
    (package / "__main__.py").write_text(body)
    alone = shell("-m", "work", "--epochs", "1", cwd=tmp_path)
    seen = shell("-m", "batchproof", "watch", "-m", "work", "--epochs", "1", cwd=tmp_path)
    assert alone.status == seen.status == 0
    assert seen.out.startswith(alone.out)


def test_a_report_is_written_where_it_is_asked_for(tmp_path):
    options = ("--json", "seen.json", "--html", "seen.html", "--live")
    ended = watched(tmp_path, TRAIN, options=options)
    assert ended.status == 1
    content = json.loads((tmp_path / "seen.json").read_text())
    assert [finding["name"] for finding in content["findings"]] == ["mean-of-batch-means"]
    assert content["findings"][0]["place"] == "train.py:14"
    assert (tmp_path / "seen.html").read_text().startswith("<!doctype html>")


def test_live_says_a_mistake_once_as_soon_as_it_is_certain(tmp_path):
    longer = TRAIN.replace("range(3)", "range(30)") + "import time; time.sleep(0)\n"
    slow = longer.replace("flush=True)", "flush=True); __import__('time').sleep(0.1)")
    ended = watched(tmp_path, slow, options=("--live",))
    said = [line for line in ended.err.splitlines() if line.startswith("batchproof: ")]
    assert len(said) == 1
    assert said[0].startswith("batchproof: train.py:14: mean-of-batch-means: `loss` ")


def test_watching_stops_after_the_steps_that_are_asked_for(tmp_path):
    ended = watched(tmp_path, TRAIN, options=("--steps", "2", "--json", "seen.json"))
    assert len(json.loads((tmp_path / "seen.json").read_text())["steps"]) == 2
    assert ended.out.count("epoch") >= 3


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere.py"], "there is no script nowhere.py; expected the path of a Python file."),
        (["."], ". is a folder; expected a Python script. Name a file in it."),
        ([], "no script was given; give SCRIPT, or -m MODULE."),
        (["-m", "no_such_module"], "no module can be run as no_such_module"),
        (["--steps", "0", "x.py"], "Input should be greater than or equal to 1"),
        (["--json", "nowhere/x.json", "x.py"], "nowhere/x.json: no such file or directory"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(tmp_path, arguments, line):
    ended = shell("-m", "batchproof", "watch", *arguments, cwd=tmp_path)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("batchproof: ")
    assert line in ended.err
    assert ended.err.count("\n") == 1


def test_a_script_that_trains_nothing_is_said_to(tmp_path):
    ended = watched(tmp_path, "print('hello 0.5')\n")
    assert ended.status == 0
    assert "Nothing was seen in train.py: it computed no loss" in ended.out


def test_signal_handlers_of_the_script_stay_its_own(tmp_path):
    script = (
        "import os, signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('mine'))\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "print('on')\n"
    )
    ended = watched(tmp_path, script)
    assert ended.out.startswith("mine\non\n")
    assert ended.status == 0
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
