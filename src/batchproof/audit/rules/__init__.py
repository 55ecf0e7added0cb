"""The rules of the auditor: one file each, with a page beside it that is its test.

A rule is a module with a function `find(trace) -> Iterator[Report]`, named after its mistake.
"""
