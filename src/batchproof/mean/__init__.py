"""The pair and its algebra: a mean that adds exactly, and the ways to make one.

Mean                    the pair (total, weight) and its one division
pool                    parts of one mean  ->  their common pair, with its graph
reduce                  losses, one per element  ->  pairs, one per sample
exact                   a torch criterion       ->  the same, as it means it
linear_cross_entropy    cross-entropy of a product, without holding all logits
accuracy                correct predictions over predictions
Outcome                 terms of an objective, and metrics beside them
Pairs                   the result of a loss function in one form: pooled pairs by name
refuse_criterion        refuses a criterion where loss(model, batch) is expected
expect_coefficients     refuses coefficients that are not finite real numbers
expect_integers         refuses indices that are not integers
of_torch                whether a criterion is one of torch's
"""

from batchproof._extras import naming_extra

with naming_extra(__name__):
    from batchproof.mean._accuracy import accuracy
    from batchproof.mean._exact import exact
    from batchproof.mean._linear_cross_entropy import linear_cross_entropy
    from batchproof.mean._mean import Mean, Unit, exact_dtype, pool
    from batchproof.mean._outcome import (
        LOSS,
        Outcome,
        Pairs,
        expect_coefficients,
        of_torch,
        refuse_criterion,
    )
    from batchproof.mean._reduce import expect_integers, reduce

__all__ = [
    "LOSS",
    "Mean",
    "Outcome",
    "Pairs",
    "Unit",
    "accuracy",
    "exact",
    "exact_dtype",
    "expect_coefficients",
    "expect_integers",
    "linear_cross_entropy",
    "of_torch",
    "pool",
    "reduce",
    "refuse_criterion",
]
