"""Runs of the user's code over cuts, and what they gave."""
