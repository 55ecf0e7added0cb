"""How far each framework is from the mean that was meant, as it comes and with our integration.

    python benchmarks/exactness.py [--quick] [--out FILE]

Every case is one training step, or one evaluation, run by the framework's own code under several
cuts of the same samples (batchproof.check). The deviation is the largest relative error of a
gradient, or of a number that is reported, against the uncut batch, over all cuts; it is not finite
where one is NaN. Beside it are the mistakes that were proved. Models and samples are those of the
tests, in float64; a head that casts to float32 has errors of that. Cases in which a framework is
exact by itself are in the table, too. About 5 minutes; --quick leaves out two ranks and keeps
nothing. The goal: with the integration every deviation is below 1e-6.

Writes results/exactness-DATE.json, and the same as a table in Markdown beside it.
"""

import functools
import math
import os
import sys
import warnings
from pathlib import Path

from _measure import heading, keep, parser

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "support"))

TWO_RANKS = ("one-by-one", "halves", "ranks-2-even", "ranks-2-uneven")


def transformers_trainer(head, *, exact):
    """Return the Trainer of a head, exact or as it comes."""
    import exact_trainers

    trainer = exact_trainers.HEADS[head]()
    if not exact:
        trainer.__class__ = type(trainer).__bases__[1]
    return trainer


def lightning_trainer(*, exact, **settings):
    """Return a Trainer, with our callback or without."""
    import lightning.pytorch as lightning

    import tiny_lightning

    return tiny_lightning.exact(**settings) if exact else lightning.Trainer(**settings)


def accelerate_loop(accelerator, model, optimizer, loader, *, exact):
    """Train as the documentation of accelerate shows it."""
    from torch.nn import functional as F

    from batchproof.integrations.accelerate import exactly

    accelerator = exactly(accelerator) if exact else accelerator
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    for inputs, targets in loader:
        with accelerator.accumulate(model):
            accelerator.backward(F.cross_entropy(model(inputs), targets))
            optimizer.step()
            optimizer.zero_grad()


def accelerate_build():
    """Return a model and its optimizer, not yet prepared."""
    import torch

    torch.manual_seed(0)
    model = torch.nn.Linear(3, 3)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def of_transformers(exact, quick):
    """Yield the name and the probe of each case."""
    from batchproof.integrations.transformers import probe_evaluate, probe_step

    def make(head):
        return functools.partial(transformers_trainer, head, exact=exact)

    yield "sequence classification, accumulated", probe_step(make("sequence"))
    yield "token classification, padded, accumulated", probe_step(make("token"))
    yield "causal language model, padded, accumulated", probe_step(make("causal"))
    yield "class weights, accumulated", probe_step(make("class_weights"))
    yield "router term of a mixture of experts, accumulated", probe_step(make("experts"))
    yield "evaluate: padded language model", probe_evaluate(make("causal"))
    yield "evaluate: class weights", probe_evaluate(make("class_weights"))
    if not quick:
        two = {"ranks": (1, 2), "cuts": TWO_RANKS}
        yield "sequence classification, 2 ranks", probe_step(make("sequence"), **two)
        yield "evaluate: 2 ranks", probe_evaluate(make("token"), ranks=(1, 2))


def of_lightning(exact, quick):
    """Yield the name and the probe of each case."""
    from batchproof.integrations.lightning import probe_evaluate, probe_step
    from tiny_lightning import Classifier, classified

    trainer = functools.partial(lightning_trainer, exact=exact)
    step = functools.partial(probe_step, Classifier, classified(), trainer=trainer)
    evaluate = functools.partial(probe_evaluate, Classifier, classified(9), trainer=trainer)
    yield "classification, accumulated", step()
    yield "classification, a short last window", step(window=4)
    yield "validate", evaluate()
    if not quick:
        yield "classification, 2 ranks", step(ranks=(1, 2), cuts=TWO_RANKS)
        yield "validate: 2 ranks", evaluate(ranks=(1, 2))


def of_accelerate(exact, quick):  # noqa: ARG001
    """Yield the name and the probe of each case."""
    from batchproof.integrations.accelerate import probe_step
    from tiny_lightning import classified

    loop = functools.partial(accelerate_loop, exact=exact)
    step = functools.partial(probe_step, loop, classified(), build=accelerate_build)
    yield "classification, accumulated", step()
    yield "classification, a short last window", step(window=4)


FRAMEWORKS = {
    "transformers": of_transformers,
    "lightning": of_lightning,
    "accelerate": of_accelerate,
}


def deviation(probe):
    """Return the largest deviation over all cuts, and the mistakes that were proved."""
    report = probe.check()
    worst = max(cut.largest for cut in report.cuts)
    shown = f"{worst:.1e}" if math.isfinite(worst) else "not finite"
    return {"deviation": shown, "mistakes": list(report.names)}


def measured(quick):
    """Return a row for each case of each framework."""
    rows = []
    for framework, cases in FRAMEWORKS.items():
        ours = dict(cases(exact=True, quick=quick))
        for case, probe in cases(exact=False, quick=quick):
            row = {"framework": framework, "case": case}
            row |= {"as it comes": deviation(probe), "ours": deviation(ours[case])}
            rows.append(row)
            print(_line(row), flush=True)
    return rows


def _line(row):
    plain, ours = row["as it comes"], row["ours"]
    mistakes = ", ".join(plain["mistakes"]) or "none"
    cells = [row["framework"], row["case"], plain["deviation"], mistakes]
    return "| " + " | ".join([*cells, ours["deviation"]]) + " |"


def table(found):
    """Return the rows as Markdown, with the versions."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return "\n".join(
        [
            "# Deviation from the mean that was meant",
            "",
            f"Largest relative error over all cuts. {found['date'][:10]}; {versions}.",
            "",
            "| framework | case | as it comes | mistakes proved | with our integration |",
            "|---|---|---|---|---|",
            *map(_line, found["rows"]),
            "",
        ]
    )


def main():
    line = parser(__doc__)
    line.add_argument("--quick", action="store_true")
    line.add_argument("--out", type=Path)
    chosen = line.parse_args()
    # processes of other ranks import the models by name
    os.environ["PYTHONPATH"] = os.pathsep.join([*sys.path[:2], os.environ.get("PYTHONPATH", "")])
    warnings.simplefilter("ignore")
    packages = ("torch", "transformers", "lightning", "accelerate")
    found = heading("deviation from the mean that was meant", threads=1, packages=packages)
    found["rows"] = measured(chosen.quick)
    if chosen.out or not chosen.quick:
        path = keep("exactness", found, out=chosen.out)
        path.with_suffix(".md").write_text(table(found), encoding="utf-8")


if __name__ == "__main__":
    main()
