"""A window over several ranks: its one collective, and the wrappers that sum gradients.

Single     one process: nothing to send
Many       several: the one collective of a window, and everything around it
Wrapper    the way gradients are summed: bare, DDP, FSDP2
ranks_of   the one of these that fits a model
"""

from batchproof.step._ranks._create import Ranks, ranks_of
from batchproof.step._ranks._many import Many
from batchproof.step._ranks._single import Single
from batchproof.step._ranks._wrappers import Wrapper

__all__ = ["Many", "Ranks", "Single", "Wrapper", "ranks_of"]
