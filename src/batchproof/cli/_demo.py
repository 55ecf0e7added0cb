"""`batchproof demo`."""


def demo() -> None:
    """Demo."""
