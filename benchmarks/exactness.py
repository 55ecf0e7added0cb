"""How far each framework is from the mean that was meant, as it comes and with our integration.

    python benchmarks/exactness.py [--quick] [--out FILE]

Every case is one training step, or one evaluation, run by the framework's own code under several
cuts of the same samples (batchproof.check). The deviation is the largest relative error of a
gradient, or of a number that is reported, against the uncut batch, over all cuts; it is not finite
where one is NaN. Beside it are the mistakes that were proved. Of a best checkpoint it is by how
much its mean is above the lowest; of a batch of NaN, what is reported. Models and samples are those
of the tests, in float64; a head that casts to float32 has errors of that, and Keras is in float32.
Cases in which a framework is exact by itself are in the table, too. About 5 minutes; --quick leaves
out two ranks and keeps nothing. The goal: with the integration every deviation is below 1e-6.

Writes results/exactness-DATE.json, and the same as a table in Markdown beside it.
"""

import contextlib
import functools
import io
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
    yield "evaluate: a batch of NaN among six", functools.partial(batch_of_nan, exact=exact)
    yield "best checkpoint, of six epochs", functools.partial(best_checkpoint, exact=exact)
    if not quick:
        two = {"ranks": (1, 2), "cuts": TWO_RANKS}
        yield "sequence classification, 2 ranks", probe_step(make("sequence"), **two)
        yield "evaluate: 2 ranks", probe_evaluate(make("token"), ranks=(1, 2))


def of_lightning(exact, quick):
    """Yield the name and the probe of each case."""
    from batchproof.integrations.lightning import probe_evaluate, probe_step
    from tiny_lightning import Classifier, Synced, classified

    trainer = functools.partial(lightning_trainer, exact=exact)
    step = functools.partial(probe_step, Classifier, classified(), trainer=trainer)
    evaluate = functools.partial(probe_evaluate, Classifier, classified(9), trainer=trainer)
    yield "classification, accumulated", step()
    yield "classification, a short last window", step(window=4)
    yield "validate", evaluate()
    if not quick:
        yield "classification, 2 ranks", step(ranks=(1, 2), cuts=TWO_RANKS)
        yield "validate: 2 ranks", evaluate(ranks=(1, 2))
        synced = functools.partial(probe_evaluate, Synced, classified(9), trainer=trainer)
        yield "validate: 2 ranks, sync_dist", synced(ranks=(1, 2))


def of_accelerate(exact, quick):  # noqa: ARG001
    """Yield the name and the probe of each case."""
    from batchproof.integrations.accelerate import probe_step
    from tiny_lightning import classified

    loop = functools.partial(accelerate_loop, exact=exact)
    step = functools.partial(probe_step, loop, classified(), build=accelerate_build)
    yield "classification, accumulated", step()
    yield "classification, a short last window", step(window=4)


def of_ignite(exact, quick):  # noqa: ARG001
    """Yield the name and the probe of each case."""
    import ignite_engines as engines
    from batchproof.integrations.ignite import probe_evaluate, probe_step

    trainer = engines.exact_trainer if exact else engines.trainer
    plain = engines.exact_evaluator if exact else engines.plain_evaluator
    weighted = engines.exact_weighted_evaluator if exact else engines.weighted_evaluator
    step = functools.partial(probe_step, trainer, engines.samples(), build=engines.build)
    evaluate = functools.partial(probe_evaluate, samples=engines.samples(), build=engines.model)
    yield "classification, accumulated", step()
    yield "classification, a short last window", step(window=4)
    yield "Loss", evaluate(plain)
    yield "Loss: class weights", evaluate(weighted)


def weighted_numbers():
    """Return numbers, each with the weight of its sample."""
    import torch

    weights = (8.0, 4.0, 1.0, 1.0, 2.0, 0.5, 0.5)
    return list(zip(torch.arange(7).double(), torch.tensor(weights).double(), strict=True))


def metric_of_torchmetrics(model, batches, *, exact, weighted, **settings):
    """Return the weighted mean of the numbers by a metric of torchmetrics."""
    import torchmetrics

    from batchproof import reduce
    from batchproof.integrations.torchmetrics import ExactMean

    metric = ExactMean() if exact else torchmetrics.MeanMetric(**settings)
    for numbers, weights in batches:
        weight, values = weights if weighted else weights * 0 + 1, model(numbers)
        metric.update(reduce(values, weight=weight)) if exact else metric.update(values, weight)
    return metric.compute()


def checked_metric(*, exact, weighted, **settings):
    """Return the deviation from the weighted mean itself, which a metric may miss in every cut."""
    import torch

    from batchproof import check_evaluate

    run = functools.partial(metric_of_torchmetrics, exact=exact, weighted=weighted, **settings)
    samples = weighted_numbers()
    numbers, weights = map(torch.stack, zip(*samples, strict=True))
    weights = weights if weighted else torch.ones_like(weights)
    mean = float((weights * numbers).sum() / weights.sum())
    found = [
        float(run(torch.nn.Identity(), list(zip(numbers.split(k), weights.split(k), strict=True))))
        for k in (1, 2, 3, 7)
    ]
    worst = max(abs(value - mean) / mean for value in found)
    names = list(check_evaluate(run, samples, build=torch.nn.Identity).names)
    return {"deviation": f"{worst:.1e}", "mistakes": names or ["unknown"] * (worst > 1e-6)}


def of_torchmetrics(exact, quick):  # noqa: ARG001
    """Yield the name and the check of each case."""
    case = functools.partial(checked_metric, exact=exact, weighted=True)
    yield "MeanMetric", functools.partial(case, weighted=False)
    yield "MeanMetric: sample weights", case
    yield (
        "MeanMetric: sample weights, nan_strategy=disable",
        functools.partial(case, nan_strategy="disable"),
    )


def evaluated_by_keras(model, batches, *, reduction, exact):
    """Return the loss of evaluate, or our metric, with a weight a sample."""
    del model
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    from batchproof.integrations.keras import ExactLoss

    net = keras.Sequential([keras.Input((1,)), keras.layers.Identity()])
    loss = keras.losses.MeanAbsoluteError(reduction=reduction)
    metrics = [ExactLoss(loss)] if exact else []
    net.compile(loss=loss, weighted_metrics=metrics)

    class Numbers(keras.utils.PyDataset):
        """Batches of unlike sizes."""

        def __len__(self):
            return len(batches)

        def __getitem__(self, index):
            numbers, weights = (part.float().numpy() for part in batches[index])
            return numbers[:, None], 0 * numbers[:, None], weights

    found = net.evaluate(Numbers(), verbose=0, return_dict=True)
    return float(found["exact_loss" if exact else "loss"])


def of_keras(exact, quick):  # noqa: ARG001
    """Yield the name and the check of each case."""
    import torch

    from batchproof import check_evaluate

    for name, reduction in (
        ("evaluate: sample weights", "sum_over_batch_size"),
        ("evaluate: sample weights, mean_with_sample_weight", "mean_with_sample_weight"),
    ):
        run = functools.partial(evaluated_by_keras, reduction=reduction, exact=exact)
        yield (
            name,
            functools.partial(
                check_evaluate,
                run,
                weighted_numbers(),
                build=torch.nn.Identity,
                dtype=torch.float32,
            ),
        )


FRAMEWORKS = {
    "transformers": of_transformers,
    "lightning": of_lightning,
    "accelerate": of_accelerate,
    "ignite": of_ignite,
    "torchmetrics": of_torchmetrics,
    "keras": of_keras,
}


def best_checkpoint(*, exact):
    """Return by how much the kept epoch's mean is above the lowest, over sizes of the batches."""
    import exact_trainers

    away = []
    for size in (1, 2, 3, 8):
        means, best = exact_trainers.means_and_best(size, exact=exact)
        away.append(means[best] / min(means) - 1)
    mistakes = ["mean-of-micro-batch-means"] if max(away) > 1e-6 else []
    return {"deviation": f"{max(away):.1e}", "mistakes": mistakes}


def batch_of_nan(*, exact):
    """Return what evaluate of transformers does with a batch of NaN among six."""
    import exact_trainers
    from batchproof import NonFiniteError

    try:
        loss = exact_trainers.evaluated_with_nan(exact=exact)
    except NonFiniteError:
        return {"deviation": "an error", "mistakes": []}
    dropped = math.isfinite(loss)
    return {
        "deviation": "the others' mean" if dropped else "NaN",
        "mistakes": ["nan-batch-dropped"] if dropped else [],
    }


def deviation(case):
    """Return the largest deviation over all cuts, and the mistakes that were proved."""
    # a Trainer of transformers prints what it logs
    with contextlib.redirect_stdout(io.StringIO()):
        report = case.check() if hasattr(case, "check") else case()
    if isinstance(report, dict):
        return report
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
            row["as it comes"] = deviation(probe)
            row["ours"] = deviation(ours[case])
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
    packages += ("pytorch-ignite", "torchmetrics", "keras")
    found = heading("deviation from the mean that was meant", threads=1, packages=packages)
    found["rows"] = measured(chosen.quick)
    if chosen.out or not chosen.quick:
        path = keep("exactness", found, out=chosen.out)
        path.with_suffix(".md").write_text(table(found), encoding="utf-8")


if __name__ == "__main__":
    main()
