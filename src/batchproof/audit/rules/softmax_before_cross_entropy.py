"""Cross-entropy is given probabilities, and takes the softmax of them once more."""

from collections.abc import Iterator

from batchproof.audit._dimensions._criteria import CROSS_ENTROPY, WITH_LOGITS
from batchproof.audit._dimensions._lattice import Tensor
from batchproof.audit._dimensions._trace import Trace
from batchproof.audit._reports import Report


def find(trace: Trace) -> Iterator[Report]:
    """Yield calls of cross-entropy whose input went through a softmax or a sigmoid."""
    for event in trace.of("criterion"):
        scores = event.other
        if event.text not in CROSS_ENTROPY | WITH_LOGITS or not isinstance(scores, Tensor):
            continue
        made_by = {"probabilities": "softmax", "sigmoid": "sigmoid"}.get(scores.form)
        once_more = "sigmoid" if event.text in WITH_LOGITS else "softmax"
        if made_by is not None:
            evidence = (
                f"{scores.text or 'its input'} is the output of a {made_by}",
                f"{event.text} takes logits",
            )
            wrong, right = f"-log {once_more}({made_by}(z))_y", f"-log {once_more}(z)_y"
            yield Report(event, wrong, right, evidence)
