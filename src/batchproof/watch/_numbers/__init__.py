"""Numbers that reach a person: captured while the script runs, and identified afterwards.

Numbers    captures the numbers of a watched run, and says what they are
"""

from batchproof.watch._numbers._numbers import Numbers

__all__ = ["Numbers"]
