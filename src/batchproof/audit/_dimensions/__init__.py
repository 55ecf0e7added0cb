"""The dimensions of a training loop's values, by abstract interpretation of its code."""
