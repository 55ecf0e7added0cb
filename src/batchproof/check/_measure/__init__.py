"""Runs of the user's code over cuts, and their results."""
