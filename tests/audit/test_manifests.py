"""The files by which other tools take the auditor up."""

import os
import re
import subprocess
import tomllib
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_action_passes_each_line_of_its_inputs_as_one_argument(tmp_path):
    script = (ROOT / "action.yml").read_text().rpartition("run: |\n")[2]
    shown = tmp_path / "batchproof"
    shown.write_text('#!/bin/sh\nprintf "<%s>" "$@"\n')
    shown.chmod(0o755)
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script],
        env={
            "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
            "AUDIT_PATHS": "src\na b/$(touch ran)\n",
            "AUDIT_ARGUMENTS": "--likely\n",
            "AUDIT_FORMAT": "github",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    expected = "<audit><--output-format><github><--likely><src><a b/$(touch ran)>"
    assert (done.stdout, done.stderr, done.returncode) == (expected, "", 0)
    assert not (tmp_path / "ran").exists()


def test_the_hook_runs_the_command_on_python_and_notebooks():
    text = (ROOT / ".pre-commit-hooks.yaml").read_text()
    assert re.findall(r"entry: (.*)", text) == ["batchproof audit"]
    assert "types_or: [python, jupyter]" in text


def test_the_entry_points_lead_to_what_is_there():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, name = project["entry-points"]["flake8.extension"]["BP"].split(":")
    assert callable(getattr(import_module(module), name))
    assert any(extra.startswith("pygls") for extra in project["optional-dependencies"]["lsp"])
