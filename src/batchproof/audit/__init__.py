"""The auditor: it reads training code without running it, and names the lines that get it wrong.

Nothing of the audited tree is imported or executed, and torch is never loaded. `_dimensions`
gives each value of a loop its dimension, `_analyse` compares them by the rules in `rules/`; all
around it, files are discovered and read, findings are filtered, fixed, kept and written out.

audit_paths      files, notebooks and folders, to a Report
audit_text       what one file holds, or is to hold, to a Report
read_settings    what is reported, and of which files: a project's pyproject.toml
Settings         the same as a value
Report           the findings of each file, and what could not be read
Finding          a mistake at a place: its name, formulas, evidence, remedy
Fix, Edit        how to rewrite it
"""

from batchproof.audit._audit import Report, audit_paths, audit_text
from batchproof.audit._finding import Edit, Finding, Fix
from batchproof.audit._settings import Settings, read_settings

__all__ = [
    "Edit",
    "Finding",
    "Fix",
    "Report",
    "Settings",
    "audit_paths",
    "audit_text",
    "read_settings",
]
