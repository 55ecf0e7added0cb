"""Cross-entropy is given probabilities, and takes the softmax of them once more."""

from collections.abc import Iterator

from batchproof.audit._dimensions._criteria import CROSS_ENTROPY
from batchproof.audit._dimensions._lattice import Tensor
from batchproof.audit._dimensions._trace import Trace
from batchproof.audit._reports import Report


def find(trace: Trace) -> Iterator[Report]:
    """Yield calls of cross-entropy whose input went through a softmax or a sigmoid."""
    for event in trace.of("criterion"):
        scores = event.other
        if event.text not in CROSS_ENTROPY or not isinstance(scores, Tensor):
            continue
        name = {"probabilities": "softmax", "sigmoid": "sigmoid"}.get(scores.form)
        if name is not None:
            evidence = (
                f"{scores.text or 'its input'} is the output of a {name}",
                f"{event.text} takes logits",
            )
            yield Report(event, f"-log softmax({name}(z))_y", "-log softmax(z)_y", evidence)
