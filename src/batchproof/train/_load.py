"""The weights of a run in a model: one line from a run folder to a model that can be used."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeVar

from torch import nn

from batchproof._errors import CheckpointError
from batchproof.ranks import unwrapped
from batchproof.runs import RunFolder
from batchproof.train._checkpoints._checkpoint import laid_out_as

Model = TypeVar("Model", bound=nn.Module)
Which = Literal["best", "last"] | int


def load_model(run: str | PathLike[str], model: Model, which: Which = "best") -> Model:
    """Return the model with a run's weights, in evaluation mode.

    Args:
        run: the run folder.
        model: built as the one that was trained.
        which: "best", "last", or the step after which weights were kept.

    Raises:
        RunFolderError: if there is no run in the folder.
        CheckpointError: if the weights are damaged or missing, or those of another model.

    Examples:
        >>> import torch
        >>> import batchproof as bp
        >>> model = nn.Linear(1, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> loss = bp.supervised(nn.MSELoss())
        >>> trainer = bp.Trainer(model, loss, optimizer, run_dir="run", progress=False)
        >>> batches = [(torch.ones(4, 1), torch.ones(4, 1))]
        >>> _ = trainer.fit(batches, batches, max_epochs=2)
        >>> torch.equal(load_model("run", nn.Linear(1, 1)).weight, model.weight)
        True
    """
    load_weights(model, RunFolder(Path(run)).weights(which), f"{run}")
    return model.eval()


def load_weights(model: nn.Module, weights: Mapping[str, Any], source: str) -> None:
    """Load weights into a model, in shards where it is.

    Raises:
        CheckpointError: if they are those of another model.
    """
    bare = unwrapped(model)
    try:
        bare.load_state_dict(laid_out_as(bare.state_dict(), weights))
    except (RuntimeError, AttributeError) as error:
        details = [" ".join(line.split()) for line in str(error).splitlines()]
        reason = details[min(1, len(details) - 1)].rstrip(". ")
        raise CheckpointError(
            f"{source} does not fit {type(bare).__name__} ({reason}); build the model as it was "
            "when it was trained."
        ) from None
