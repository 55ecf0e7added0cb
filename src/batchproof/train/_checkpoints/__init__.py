"""Checkpoints: the value, its files, and the folder in which a run keeps them."""
