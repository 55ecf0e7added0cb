"""Metrics that are not means, in evaluation, in training and over ranks."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import batchproof as bp
import rank_processes
import rank_training
from batchproof.meter import AUROC, F1, ConfusionMatrix, Score
from small_runs import batches, classifier, criterion, samples, trainer

sklearn = pytest.importorskip("sklearn.metrics")
CASES = 20


@pytest.mark.parametrize("batch_size", [1, 7, 50])
def test_an_evaluation_gives_the_scores_of_the_whole_data(batch_size):
    model = classifier()
    f1 = F1()
    metrics = {"f1": f1, "auroc": AUROC(), "confusion": ConfusionMatrix()}
    estimate = bp.evaluate(model, batches(batch_size=batch_size), criterion(), metrics=metrics)
    x, y = samples()
    with torch.no_grad():
        logits = model(x)
    wanted = sklearn.f1_score(y, logits.argmax(1), average="macro")
    assert float(estimate.scores["f1"]) == pytest.approx(wanted, rel=1e-12)
    wanted = sklearn.roc_auc_score(y, logits.double().softmax(1), multi_class="ovr")
    assert float(estimate.scores["auroc"]) == pytest.approx(wanted, rel=1e-12)
    wanted = sklearn.confusion_matrix(y, logits.argmax(1)).tolist()
    assert estimate.scores["confusion"].value.tolist() == wanted
    assert "scores=f1, auroc, confusion" in repr(estimate)
    assert "score f1" in estimate._repr_html_()
    # what was handed in stays as it was
    assert f1.matrix.counts is None


def test_a_training_records_them_and_chooses_the_best_by_one(tmp_path):
    options = {"metrics": {"f1": F1(), "confusion": ConfusionMatrix()}, "monitor": "val_f1"}
    run = tmp_path / "run"
    history = trainer(run_dir=run, mode="max", **options).fit(batches(16), batches(9), max_epochs=3)
    assert history.best.value == max(history.values("val_f1"))
    record = bp.train.RunFolder(run).history().last("val_f1")
    assert record == history.last("val_f1")
    assert record.unit == "score"
    assert record.standard_error > 0
    assert (
        sum(history.last(f"val_confusion/{i}/{j}").value for i in range(3) for j in range(3)) == 9
    )
    assert "train_f1" not in {r.name for r in history.records}
    with pytest.raises(bp.CheckpointError, match=r"settings\.metrics"):
        trainer(run_dir=run, monitor="val_f1", mode="max", metrics={"f1": F1()}).fit(
            batches(16), batches(9), max_epochs=4, resume=True
        )


def test_a_function_says_what_its_outputs_are():
    model, whole = classifier(), [samples()]
    exact = bp.exact(nn.CrossEntropyLoss())

    def loss(model, batch):
        outputs = model(batch[0])
        return bp.Outcome(exact(outputs, batch[1]), outputs=outputs, targets=batch[1])

    def silent(model, batch):
        return exact(model(batch[0]), batch[1])

    found, wanted = (
        bp.evaluate(model, whole, each, metrics={"f1": F1()}) for each in (loss, criterion())
    )
    assert found.scores == wanted.scores
    with pytest.raises(bp.SettingError, match="metrics f1 need outputs and targets, which the los"):
        bp.evaluate(model, whole, silent, metrics={"f1": F1()})


@pytest.mark.usefixtures("unchecked")
def test_two_metrics_of_one_name_are_refused():
    with pytest.raises(bp.SettingError, match="'accuracy' is the name of a mean and of another"):
        bp.evaluate(classifier(), batches(), criterion(), metrics={"accuracy": F1()})
    with pytest.raises(bp.SettingError, match=r"metrics\['f1'\] is accuracy; expected an object"):
        trainer(metrics={"f1": bp.accuracy})


@pytest.mark.ranks
@pytest.mark.parametrize("world", [1, 2, 3])
def test_scores_over_ranks_are_those_of_the_whole_data(tmp_path, world):
    for seen in rank_processes.run("rank_training:scored", world, tmp_path):
        for count in (23, 2):
            logits, targets = (each.numpy() for each in rank_training.answers(count))
            f1, area = seen[f"scores {count}"]
            assert f1 == pytest.approx(sklearn.f1_score(targets, logits > 0), rel=1e-12)
            assert area == pytest.approx(sklearn.roc_auc_score(targets, logits), rel=1e-12)
        said = seen["without merge_state"]
        if world > 1:
            assert said.startswith("metric 'own' (Own) has no merge_state(metrics), by which it")
        else:
            assert said == "23.0"


def drawn_answers(seed, kind):
    """Return scores with ties, targets of skewed classes of which some are absent, and ignored."""
    rng = np.random.default_rng(seed)
    size = int(rng.choice([1, 2, 5, 40, 300]))
    width = 1 if kind == "binary" else int(rng.integers(2, 8))
    scores = rng.normal(size=(size, width))
    if rng.random() < 0.5:
        scores = np.round(scores * rng.choice([1, 3]))
    chances = rng.dirichlet(np.full(width, 0.5))
    if kind == "classes":
        targets = rng.choice(width, size=size, p=chances)
        # what is learned, so that not all areas are near a half
        scores[np.arange(size), targets] += rng.choice([0.0, 1.0])
    else:
        targets = (rng.random((size, width)) < rng.choice([0.02, 0.3, 0.9])).astype(int)
    targets[rng.random(targets.shape) < rng.choice([0.0, 0.2])] = -100
    if kind == "binary":
        scores, targets = scores[:, 0], targets[:, 0]
    return torch.tensor(scores), torch.tensor(targets), rng


def over_ranks(metric, scores, targets, rng):
    """Return a metric over ragged batches that are dealt to one to three ranks."""
    edges = np.sort(rng.integers(0, len(targets) + 1, size=int(rng.integers(0, 6))))
    ranks = [copy.deepcopy(metric) for _ in range(int(rng.integers(1, 4)))]
    for part in np.split(np.arange(len(targets)), edges):
        if len(part):
            ranks[int(rng.integers(len(ranks)))].update(scores[part], targets[part])
    ranks[0].merge_state(ranks[1:])
    value = ranks[0].compute()
    return np.asarray(value.value if isinstance(value, Score) else value)


def columns(scores, targets, kind):
    """Yield each label, or each class against the rest: answers, scores and predictions."""
    if kind == "classes":
        counted = targets != -100
        chances, predicted = scores[counted].softmax(1), scores[counted].argmax(1)
        for index in range(scores.shape[1]):
            yield targets[counted] == index, chances[:, index], predicted == index
        return
    for aim, score in zip(
        *(each.reshape(len(each), -1).mT for each in (targets, scores)), strict=True
    ):
        counted = aim != -100
        yield aim[counted] == 1, score[counted], score[counted] > 0


@pytest.mark.parametrize("kind", ["binary", "labels", "classes"])
@pytest.mark.parametrize("seed", range(CASES))
def test_scores_of_drawn_data_are_those_of_scikit_learn(seed, kind):
    scores, targets, rng = drawn_answers(seed, kind)
    binary = kind != "classes"

    def expect(metric, wanted):
        found = over_ranks(metric, scores, targets, rng)
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=0)

    parts = [[each.numpy() for each in part] for part in columns(scores, targets, kind)]
    areas = [sklearn.roc_auc_score(a, s) for a, s, _ in parts if 0 < a.sum() < len(a)]
    expect(AUROC(binary=binary), np.mean(areas) if areas else np.nan)
    # scikit-learn takes no empty arrays, of which nothing is right
    each = np.array([sklearn.f1_score(a, p, zero_division=0) if len(a) else 0 for a, _, p in parts])
    support = np.array([a.sum() for a, _, _ in parts])
    either = np.array([(a | p).any() for a, _, p in parts])
    answers, predicted = (np.concatenate([part[i] for part in parts]) for i in (0, 2))
    expect(F1(binary=binary, average="none"), each if len(parts) > 1 else each[0])
    expect(F1(binary=binary), each[either].mean() if either.any() else 0)
    micro = sklearn.f1_score(answers, predicted, zero_division=0) if len(answers) else 0
    expect(F1(binary=binary, average="micro"), micro)
    weighted = np.average(each, weights=support) if support.any() else 0
    expect(F1(binary=binary, average="weighted"), weighted)
    if kind == "classes":
        aim, classes = targets[targets != -100].numpy(), range(scores.shape[1])
        said = scores[targets != -100].argmax(1).numpy()
        counts = sklearn.confusion_matrix(aim, said, labels=classes) if len(aim) else 0
        expect(ConfusionMatrix(), counts)
    else:
        counts = [
            sklearn.confusion_matrix(a, p, labels=[False, True]) if len(a) else np.zeros((2, 2))
            for a, _, p in parts
        ]
        expect(ConfusionMatrix(binary=True), counts if len(parts) > 1 else counts[0])
