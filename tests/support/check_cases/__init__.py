"""Training steps and evaluations, right and wrong: shared by the tests of the check.

worlds       models, samples and how they are collated
losses       (model, batch) -> (sum, weight)
steps        make run(model, optimizer, micro_batches) of a loss
evaluations  make run(model, batches) of a loss
over_ranks   the same over several processes
tables       the cases: which mistakes each of them makes
"""

from check_cases.evaluations import *  # noqa: F403
from check_cases.losses import *  # noqa: F403
from check_cases.over_ranks import *  # noqa: F403
from check_cases.steps import *  # noqa: F403
from check_cases.tables import *  # noqa: F403
from check_cases.worlds import *  # noqa: F403
