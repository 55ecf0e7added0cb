"""Training and evaluation whose numbers do not depend on how the data is cut.

evaluate      a model's mean loss over a data set, with its standard error
supervised    a criterion as a loss function for batches (input, target)
Trainer       fits and evaluates with one function for a batch's Mean
predict       a model's outputs over a data set, in its order, also over ranks
load_model    a model with the weights of a run
Steps, Compute, Stopping, Limits, Saving, Reporting, Breakdown, Validation
              the options of a Trainer, those together that belong together
History       the records of a run; the best epoch and the runner-up
Record        one of its pairs
RunFolder     reads the files of a run: configuration, records, weights
LrSweep       losses by learning rate, of Trainer.find_lr
Callback      is notified of the events of a run
LivePlot      draws its curves
Profiler      traces some of its steps
Progress      shows it: on a terminal, as plain lines, or not at all
save_sharded, load_sharded    a checkpoint in shards, for any number of ranks
model_summary, first_batch    lines about the model and the first batch, before training
layer_summary                 the layers with the shapes that a batch gives them
"""

from batchproof._extras import naming_extra

with naming_extra(__name__):
    from batchproof.runs import Choice, History, Record, RunFolder
    from batchproof.train._checkpoints._sharded import load_sharded, save_sharded
    from batchproof.train._evaluate import evaluate
    from batchproof.train._first_batch import first_batch, layer_summary, model_summary
    from batchproof.train._load import load_model
    from batchproof.train._loss import Loss, Precision, Supervised, supervised
    from batchproof.train._options import (
        Breakdown,
        Compute,
        Limits,
        Reporting,
        Saving,
        Steps,
        Stopping,
        Validation,
    )
    from batchproof.train._outputs._callback import Callback
    from batchproof.train._outputs._plot import LivePlot, draw_curves
    from batchproof.train._outputs._profiler import Profiler
    from batchproof.train._outputs._progress import (
        LiveProgress,
        NoProgress,
        PlainProgress,
        Progress,
    )
    from batchproof.train._position import Position
    from batchproof.train._predict import predict
    from batchproof.train._trainer import Trainer
    from batchproof.train._trials import LrSweep

__all__ = [
    "Breakdown",
    "Callback",
    "Choice",
    "Compute",
    "History",
    "Limits",
    "LivePlot",
    "LiveProgress",
    "Loss",
    "LrSweep",
    "NoProgress",
    "PlainProgress",
    "Position",
    "Precision",
    "Profiler",
    "Progress",
    "Record",
    "Reporting",
    "RunFolder",
    "Saving",
    "Steps",
    "Stopping",
    "Supervised",
    "Trainer",
    "Validation",
    "draw_curves",
    "evaluate",
    "first_batch",
    "layer_summary",
    "load_model",
    "load_sharded",
    "model_summary",
    "predict",
    "save_sharded",
    "supervised",
]
