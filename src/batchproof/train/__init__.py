"""Training and evaluation whose numbers do not depend on how the data is cut.

evaluate      a model's mean loss over a data set, with its standard error
supervised    a criterion as a loss function for batches (input, target)
Trainer       fits and evaluates with one function for a batch's Mean
History       what a run measured; the best epoch and the runner-up
Record        one of its pairs
RunFolder     reads what a run has left: configuration, records, weights
LrSweep       losses by learning rate, of Trainer.find_lr
Callback      is told of a run as it goes
LivePlot      draws its curves
Progress      shows it: on a terminal, as plain lines, or not at all
save_sharded, load_sharded    a checkpoint in shards, for any number of ranks
model_summary, first_batch    what is looked at before training
"""

from batchproof.runs import Choice, History, Record, RunFolder
from batchproof.train._callback import Callback
from batchproof.train._evaluate import evaluate
from batchproof.train._live import LiveProgress
from batchproof.train._loss import Loss, Precision
from batchproof.train._lr_finder import LrSweep
from batchproof.train._plot import LivePlot, draw_curves
from batchproof.train._position import Position
from batchproof.train._progress import NoProgress, PlainProgress, Progress
from batchproof.train._sanity import first_batch, model_summary
from batchproof.train._sharded import load_sharded, save_sharded
from batchproof.train._supervised import Supervised, supervised
from batchproof.train._trainer import Trainer

__all__ = [
    "Callback",
    "Choice",
    "History",
    "LivePlot",
    "LiveProgress",
    "Loss",
    "LrSweep",
    "NoProgress",
    "PlainProgress",
    "Position",
    "Precision",
    "Progress",
    "Record",
    "RunFolder",
    "Supervised",
    "Trainer",
    "draw_curves",
    "evaluate",
    "first_batch",
    "load_sharded",
    "model_summary",
    "save_sharded",
    "supervised",
]
