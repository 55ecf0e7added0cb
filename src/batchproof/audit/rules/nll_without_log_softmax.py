"""The negative log-likelihood is given values that are not log-probabilities."""

from collections.abc import Iterator

from batchproof.audit._dimensions._criteria import NLL
from batchproof.audit._dimensions._lattice import Tensor
from batchproof.audit._dimensions._trace import Trace
from batchproof.audit._reports import Report


def find(trace: Trace) -> Iterator[Report]:
    """Yield calls of the negative log-likelihood on probabilities or on a linear layer's output."""
    for event in trace.of("criterion"):
        scores = event.other
        wrong = isinstance(scores, Tensor) and scores.form in {"probabilities", "logits"}
        if event.text in NLL and isinstance(scores, Tensor) and wrong:
            what = "a softmax" if scores.form == "probabilities" else "a linear layer"
            computes = "-p_y" if scores.form == "probabilities" else "-z_y"
            evidence = (
                f"{scores.text or 'its input'} is the output of {what}",
                f"{event.text} takes log-probabilities",
            )
            yield Report(event, computes, "-log p_y", evidence)
