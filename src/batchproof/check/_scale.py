"""The scale of the gradient against the reported loss: what one micro-batch was divided by."""

from batchproof._errors import ProbeError
from batchproof.check._lab import Laboratory


def window_size(lab: Laboratory) -> int | None:
    """Return the fixed number that every micro-batch is divided by, if it is a whole number.

    The reported loss is moved along the gradient g by a small step. An undivided loss L has the
    slope grad L . g; where g = grad L / K, the slope is K |g|^2, which gives K.

    Args:
        lab: takes the shots.

    Returns:
        K above 1, or None where the loss is not reported or its slope is the gradient's own.
    """
    whole = lab.whole()
    shot = lab.shot(whole)
    if shot.loss is None:
        return None
    square = sum(float((g.double() ** 2).sum()) for g in shot.gradients.values())
    if square == 0:
        return None
    small = 1e-4 / square**0.5
    try:
        losses = [
            lab.shot(whole, nudge=tuple((n, s * small * g) for n, g in shot.gradients.items())).loss
            for s in (1.0, -1.0)
        ]
    except ProbeError:
        return None
    if losses[0] is None or losses[1] is None:
        return None
    ratio = (losses[0] - losses[1]) / (2 * small * square)
    near = round(ratio)
    return near if near > 1 and abs(ratio - near) < 0.01 * near else None
