"""Topic cross-entropy: from scores to a loss and its gradient, one class at a time.

    p_c = exp(z_c) / sum_k exp(z_k)      loss = -sum_c y_c log p_c      d loss / d z_c = p_c - y_c

y is 1 at the target and 0 elsewhere; with label smoothing e, y_c = e / C + (1 - e) [c = target].
"""

import math
from collections.abc import Sequence
from typing import Annotated

from batchproof._errors import SettingError
from batchproof.explain._explanation import Explanation
from batchproof.explain._values import count, finite, share
from batchproof.page import Bar, Bars, Formula, Part, Table, Text, Tone, number


def cross_entropy(
    logits: Annotated[Sequence[float], "score of each class, before softmax"] = (2.0, 1.0, 0.1),
    target: Annotated[int, "index of the right class, from 0"] = 0,
    label_smoothing: Annotated[float, "share of the target spread over all classes, 0 to 1"] = 0.0,
) -> Explanation:
    """Follow logits to softmax, loss and gradient.

    Examples:
        >>> cross_entropy().verdict
        'Class 0 gets probability 0.659, so the loss is 0.417; a guess among 3 classes has 1.099.'
    """
    scores = finite("logits", logits, least=2)
    classes = len(scores)
    count("target", target, least=0, most=classes - 1)
    smoothing = share("label_smoothing", label_smoothing)
    if max(scores) - min(scores) > 700:
        raise SettingError(
            f"logits spread over {number(max(scores) - min(scores))}; expected at most 700, beyond "
            "which a probability is 0 in float64. Bring them closer together."
        )
    largest = max(scores)
    exps = [math.exp(z - largest) for z in scores]
    total = math.fsum(exps)
    softmax = [e / total for e in exps]
    targets = [smoothing / classes + (1 - smoothing) * (c == target) for c in range(classes)]
    log_softmax = [z - largest - math.log(total) for z in scores]
    loss = -math.fsum(y * log_p for y, log_p in zip(targets, log_softmax, strict=True))
    gradient = [p - y for p, y in zip(softmax, targets, strict=True)]

    numbers = {"loss": loss, "log_classes": math.log(classes)}
    numbers |= {f"softmax_{c}": p for c, p in enumerate(softmax)}
    numbers |= {f"gradient_{c}": g for c, g in enumerate(gradient)}
    tones: tuple[Tone, ...] = tuple("exact" if c == target else "plain" for c in range(classes))
    columns = ("class", "logit z", "exp(z - max)", "softmax p", "target y", "gradient p - y")
    values = zip(scores, exps, softmax, targets, gradient, strict=True)
    rows = tuple((str(c), *(number(v) for v in row)) for c, row in enumerate(values))
    return Explanation(
        "cross-entropy",
        "Cross-entropy, from logits to gradient",
        f"Class {target} gets probability {number(softmax[target], 3)}, so the loss is "
        f"{number(loss, 3)}; a guess among {classes} classes has {number(math.log(classes))}.",
        (
            Formula(
                "p_c = exp(z_c) / Σ_k exp(z_k)\n"
                "loss = -Σ_c y_c log p_c = log Σ_k exp(z_k) - Σ_c y_c z_c\n"
                "d loss / d z_c = p_c - y_c"
            ),
            Table(columns, rows, tones),
            Bars("softmax", tuple(Bar(f"class {c}", p, tones[c]) for c, p in enumerate(softmax))),
            Bars(
                "gradient on the logits",
                tuple(Bar(f"class {c}", g, tones[c]) for c, g in enumerate(gradient)),
            ),
            *_advice(classes),
        ),
        numbers,
    )


def _advice(classes: int) -> tuple[Part, ...]:
    return (
        Text(
            "The gradient adds up to 0: what is taken from the wrong classes goes to the right "
            "one. The largest logit is subtracted first, which changes nothing in p and keeps "
            "exp from overflowing; torch.nn.CrossEntropyLoss does this itself, so give it "
            "logits, not probabilities."
        ),
        Text(
            "At the start of training the loss should be near log(classes) = "
            f"{number(math.log(classes))}. Far above it, the first layer or the labels are off."
        ),
    )
