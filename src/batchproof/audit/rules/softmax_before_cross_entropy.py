"""Cross-entropy is given probabilities, and takes the softmax of them once more."""

from collections.abc import Iterator

from batchproof.audit._dimensions._criteria import CROSS_ENTROPY
from batchproof.audit._dimensions._lattice import Tensor
from batchproof.audit._dimensions._trace import Trace
from batchproof.audit._reports import Report


def find(trace: Trace) -> Iterator[Report]:
    """Yield calls of cross-entropy whose input went through a softmax."""
    for event in trace.of("criterion"):
        scores = event.other
        if (
            event.text in CROSS_ENTROPY
            and isinstance(scores, Tensor)
            and scores.form == "probabilities"
        ):
            evidence = (
                f"{scores.text or 'its input'} is the output of a softmax",
                f"{event.text} takes logits",
            )
            yield Report(event, "-log softmax(softmax(z))_y", "-log softmax(z)_y", evidence)
