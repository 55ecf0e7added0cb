"""The auditor: it reads training code without running it, and names the lines that get it wrong.

Nothing of the audited tree is imported or executed, and torch is never loaded. `_dimensions`
gives each value of a loop its dimension, `_analyse` compares them by the rules in `rules/`; all
around it, files are discovered and read, findings are filtered, fixed, kept and written out.
"""
