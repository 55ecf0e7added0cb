"""The command line, one file per command; each imports what it needs when it is called.

main    the entry point: `batchproof`, `python -m batchproof`
app     the same as a typer application
"""

from batchproof.cli._app import app, main

__all__ = ["app", "main"]
