"""Checkpoints: what is in one, how it is written and read, and where a run keeps its own."""
