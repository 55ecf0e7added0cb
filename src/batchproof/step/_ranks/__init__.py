"""A window over several ranks: what is sent, and how gradients come to be summed.

Alone      one process: nothing to send
Several    several: the one collective of a window, and all that surrounds it
Wrapper    how gradients come to be summed: bare, DDP, FSDP2
ranks_of   the one of these that fits a model
"""

from batchproof.step._ranks._alone import Alone
from batchproof.step._ranks._choice import Ranks, ranks_of
from batchproof.step._ranks._several import Several
from batchproof.step._ranks._wrappers import Wrapper

__all__ = ["Alone", "Ranks", "Several", "Wrapper", "ranks_of"]
