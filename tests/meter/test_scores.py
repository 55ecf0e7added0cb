"""Metrics that are not means: the number of the whole data, whatever the batches and ranks."""

import copy
import math
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import batchproof as bp
from batchproof.meter import AUROC, F1, ConfusionMatrix, Metric, Perplexity, Score
from batchproof.meter._score import Scores
from strategies import cuts

sklearn = pytest.importorskip("sklearn.metrics")
AVERAGES = ("macro", "micro", "weighted", "none")


@st.composite
def classified(draw, classes=3, least=1):
    """Logits with ties and targets of which some are ignored, and classes may be missing."""
    size = draw(st.integers(least, 14))
    logits = st.lists(st.integers(-2, 2), min_size=classes, max_size=classes)
    rows = draw(st.lists(logits, min_size=size, max_size=size))
    labels = st.sampled_from([-100, *range(classes)])
    targets = draw(st.lists(labels, min_size=size, max_size=size))
    return torch.tensor(rows, dtype=torch.float32), torch.tensor(targets)


@st.composite
def answered(draw):
    """One logit per sample, with ties, and answers of which some are ignored."""
    size = draw(st.integers(1, 14))
    logits = draw(st.lists(st.integers(-3, 3), min_size=size, max_size=size))
    targets = draw(st.lists(st.sampled_from([-100, 0, 1]), min_size=size, max_size=size))
    return torch.tensor(logits, dtype=torch.float32), torch.tensor(targets)


def over(metric, data, parts, ranks):
    """Return a metric over batches that are dealt to ranks; ranks may have none."""
    metrics = [copy.deepcopy(metric) for _ in range(ranks)]
    for number, part in enumerate(parts):
        metrics[number % ranks].update(*(each[part] for each in data))
    metrics[0].merge_state(metrics[1:])
    return metrics[0].compute()


def quietly(call, *arguments, **named):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(*arguments, **named)


@given(data=st.data(), batch=classified(), ranks=st.integers(1, 3))
@pytest.mark.parametrize("average", AVERAGES)
def test_f1_over_any_cut_and_ranks_is_that_of_scikit_learn(average, data, batch, ranks):
    logits, targets = batch
    score = over(F1(average=average), batch, data.draw(cuts(len(targets))), ranks)
    counted = targets != -100
    aim, predicted = targets[counted], logits.argmax(1)[counted]
    if not len(aim):
        assert torch.as_tensor(score.value).eq(0).all()
        return
    if average == "none":
        wanted = sklearn.f1_score(
            aim, predicted, labels=[0, 1, 2], average=None, zero_division=0
        ).tolist()
        assert score.value.tolist() == pytest.approx(wanted, rel=1e-12)
        return
    wanted = sklearn.f1_score(aim, predicted, average=average, zero_division=0)
    assert score.value == pytest.approx(float(wanted), rel=1e-12)


@given(data=st.data(), batch=answered(), ranks=st.integers(1, 3))
def test_f1_and_auroc_of_yes_are_those_of_scikit_learn(data, batch, ranks):
    logits, targets = batch
    parts = data.draw(cuts(len(targets)))
    counted = targets != -100
    aim, scores = targets[counted], logits[counted]
    f1, area = (over(kind(binary=True), batch, parts, ranks) for kind in (F1, AUROC))
    if len(aim):
        wanted = sklearn.f1_score(aim, (scores > 0).long(), zero_division=0)
        assert f1.value == pytest.approx(float(wanted), rel=1e-12)
    if len(set(aim.tolist())) < 2:
        assert math.isnan(area.value)
        assert area.standard_error is None
    else:
        assert area.value == pytest.approx(sklearn.roc_auc_score(aim, scores), rel=1e-12)


@given(data=st.data(), batch=classified(least=4), ranks=st.integers(1, 3))
def test_auroc_of_several_classes_is_the_mean_of_each_against_the_rest(data, batch, ranks):
    logits, targets = batch
    area = over(AUROC(), batch, data.draw(cuts(len(targets))), ranks)
    counted = targets != -100
    aim, chances = targets[counted], logits.double().softmax(1)[counted]
    each = [
        sklearn.roc_auc_score(aim == index, chances[:, index])
        for index in range(3)
        if 0 < int((aim == index).sum()) < len(aim)
    ]
    if each:
        assert area.value == pytest.approx(sum(each) / len(each), rel=1e-12)
    else:
        assert math.isnan(area.value)


@given(data=st.data(), batch=classified(classes=2), ranks=st.integers(1, 3))
def test_the_confusion_matrix_and_the_area_of_two_classes(data, batch, ranks):
    logits, targets = batch
    parts = data.draw(cuts(len(targets)))
    counted = targets != -100
    aim = targets[counted]
    matrix = over(ConfusionMatrix(), batch, parts, ranks)
    if not len(aim):
        assert not matrix.any()
        return
    wanted = sklearn.confusion_matrix(aim, logits.argmax(1)[counted], labels=[0, 1])
    assert matrix.tolist() == wanted.tolist()
    if len(set(aim.tolist())) == 2:
        scores = (logits[:, 1] - logits[:, 0])[counted]
        area = over(AUROC(), batch, parts, ranks)
        assert area.value == pytest.approx(sklearn.roc_auc_score(aim, scores), rel=1e-12)


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("size", [1, 4, 40])
def test_several_labels_a_sample_are_averaged_over_labels(average, size):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 3, generator=generator)
    targets = (torch.rand(40, 3, generator=generator) > 0.4).long()
    f1, area = F1(average=average, binary=True), AUROC(binary=True)
    matrix = ConfusionMatrix(binary=True)
    for metric in (f1, area, matrix):
        for part in torch.arange(40).split(size):
            metric.update(logits[part], targets[part])
    named = None if average == "none" else average

    def flat(value):
        return torch.as_tensor(value, dtype=torch.float64).flatten().tolist()

    wanted = sklearn.f1_score(targets, (logits > 0).long(), average=named)
    assert list(flat(f1.compute().value)) == pytest.approx(list(flat(wanted)), rel=1e-12)
    wanted = sklearn.roc_auc_score(targets, logits, average="macro")
    assert area.compute().value == pytest.approx(wanted, rel=1e-12)
    wanted = sklearn.multilabel_confusion_matrix(targets, (logits > 0).long())
    assert matrix.compute().tolist() == wanted.tolist()


@pytest.mark.parametrize("size", [1, 3, 10])
def test_perplexity_is_of_the_mean_over_all_tokens(size):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(10, 7, 5, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 7, (10, 5), generator=generator)
    targets[3:, 2:] = -100
    metric = Perplexity()
    for part in torch.arange(10).split(size):
        metric.update(logits[part], targets[part])
    score = metric.compute()
    assert score.value == pytest.approx(float(nn.functional.cross_entropy(logits, targets).exp()))
    loss = bp.Meter()
    loss.add(bp.exact(nn.CrossEntropyLoss())(logits, targets))
    estimate = loss.estimate()
    assert score.standard_error == pytest.approx(score.value * estimate.standard_error)


def drawn(samples, classes=3):
    targets = torch.randint(0, classes, (samples,))
    return torch.randn(samples, classes) + nn.functional.one_hot(targets, classes), targets


@pytest.mark.parametrize(
    "metric",
    [
        F1(),
        F1(average="micro"),
        F1(average="weighted"),
        F1(average="none"),
        AUROC(),
        F1(binary=True),
        AUROC(binary=True),
    ],
    ids=lambda metric: f"{type(metric).__name__} {getattr(metric, 'average', '')}",
)
def test_the_standard_error_is_the_spread_over_repeated_samples(metric):
    torch.manual_seed(0)
    classes = 2 if metric.binary or isinstance(metric, AUROC) else 3
    scores = []
    for _ in range(300):
        logits, targets = drawn(200, classes)
        again = copy.deepcopy(metric)
        again.update(logits[:, 1] - logits[:, 0] if metric.binary else logits, targets)
        scores.append(again.compute())
    values = torch.stack([torch.as_tensor(s.value, dtype=torch.float64) for s in scores])
    errors = torch.stack([torch.as_tensor(s.standard_error) for s in scores]).mean(0)
    torch.testing.assert_close(errors, values.std(0), rtol=0.12, atol=0.0, check_dtype=False)


def test_the_error_of_f1_of_yes_is_that_of_a_ratio_of_sums():
    torch.manual_seed(1)
    logits, targets = torch.randn(60), torch.randint(0, 2, (60,))
    f1 = F1(binary=True)
    f1.update(logits, targets)
    yes = (logits > 0).double()
    meter = bp.Meter()
    meter.add(bp.Mean(2 * yes * targets, yes + targets))
    estimate, score = meter.estimate(), f1.compute()
    assert score.value == pytest.approx(estimate.value, rel=1e-12)
    # a sample that is neither yes nor predicted so counts among the 60, but has no weight
    n = estimate.samples
    factor = (60 / 59 * (n - 1) / n) ** 0.5
    assert score.standard_error == pytest.approx(factor * estimate.standard_error, rel=1e-12)


def test_elements_of_one_sample_are_not_independent_so_no_error_is_given():
    logits, targets = torch.randn(4, 3, 5), torch.randint(0, 3, (4, 5))
    for metric in (F1(), AUROC()):
        metric.update(logits, targets)
        assert metric.compute().standard_error is None


def test_shapes_and_targets_that_disagree_are_refused():
    with pytest.raises(bp.ShapeError, match=r"expected \(samples, classes, ...\)"):
        F1().update(torch.zeros(4), torch.zeros(4))
    with pytest.raises(bp.ShapeError, match="expected one logit for each target"):
        AUROC(binary=True).update(torch.zeros(4, 2), torch.zeros(4))
    with pytest.raises(bp.ShapeError, match=r"expected \(samples, classes, ...\)"):
        AUROC().update(torch.zeros(4), torch.zeros(4))
    outside = F1()
    outside.update(torch.zeros(2, 3), torch.tensor([0, 3]))
    with pytest.raises(bp.DataError, match="1 targets are not classes; expected 0 to 2"):
        outside.compute()
    outside = AUROC()
    outside.update(torch.zeros(2, 3), torch.tensor([0, 3]))
    with pytest.raises(bp.DataError, match="a target for AUROC is 3; expected 0 to 2"):
        outside.compute()
    other = F1()
    other.update(torch.zeros(2, 3), torch.tensor([0, 1]))
    with pytest.raises(bp.ShapeError, match="outputs have 4 classes, and had 3 classes"):
        other.update(torch.zeros(2, 4), torch.tensor([0, 1]))
    missing = AUROC(binary=True)
    missing.update(torch.tensor([math.nan, 1.0]), torch.tensor([0, 1]))
    with pytest.raises(bp.NonFiniteError, match="a score for AUROC is NaN"):
        missing.compute()


@pytest.mark.parametrize("average", AVERAGES)
def test_a_label_that_is_in_no_sample_counts_as_scikit_learn_counts_it(average):
    logits = torch.tensor([[2.0, -1.0, -1.0], [1.0, 3.0, -2.0], [-1.0, 2.0, -3.0]])
    targets = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 1, 0]])
    f1 = F1(average=average, binary=True)
    f1.update(logits, targets)
    named = None if average == "none" else average
    wanted = sklearn.f1_score(targets, (logits > 0).long(), average=named, zero_division=0)
    ours = torch.as_tensor(f1.compute().value, dtype=torch.float64)
    assert torch.allclose(ours, torch.as_tensor(wanted, dtype=torch.float64), rtol=1e-12)


@pytest.mark.parametrize("metric", [F1(), AUROC(), ConfusionMatrix()])
def test_nothing_added_is_refused(metric):
    with pytest.raises(bp.DataError, match="was given no batch"):
        metric.compute()


def test_a_score_prints_as_people_read_it_and_gives_each_of_its_numbers():
    assert f"{Score(0.12345, 0.01)}" == "0.1235 ± 0.01"
    assert f"{Score(0.12345):.2f}" == "0.12"
    matrix = Score(torch.tensor([[1, 2], [3, 4]])).numbers("m")
    assert {name: float(score) for name, score in matrix.items()} == {
        "m/0/0": 1,
        "m/0/1": 2,
        "m/1/0": 3,
        "m/1/1": 4,
    }
    assert str(Score(torch.tensor([[1, 2], [3, 4]]))) == "[[1, 2], [3, 4]]"
    with pytest.raises(bp.SettingError, match="gives 40,000 numbers, and a log is to hold 10,000"):
        Score(torch.zeros(200, 200)).numbers("m")


def test_the_metrics_of_the_house_have_its_interface():
    for metric in (F1(), AUROC(), ConfusionMatrix(), Perplexity()):
        assert isinstance(metric, Metric)


class Broken:
    def update(self, outputs, targets):
        raise ValueError("no\n  good")

    def compute(self):
        return "text"


class Spells(Broken):
    def update(self, outputs, targets):
        pass


def test_a_metric_that_raises_is_named_in_one_line():
    scores = Scores({"f1": Broken()}, torch.device("cpu"))
    text = (
        r"^metric 'f1' raised in update with outputs \(4, 3\), targets list: ValueError: no good$"
    )
    with pytest.raises(bp.SettingError, match=text):
        scores.update(torch.zeros(4, 3), [])
    scores = Scores({"f1": Spells()}, torch.device("cpu"))
    with pytest.raises(bp.SettingError, match="metric 'f1' computed a str; expected a number"):
        scores.compute()


@pytest.mark.parametrize("given", [F1, bp.accuracy, 3])
def test_what_is_not_a_metric_is_refused(given):
    with pytest.raises(bp.SettingError, match=r"^metrics\['f1'\] is .*; expected an object with"):
        Scores({"f1": given}, torch.device("cpu"))


@pytest.mark.usefixtures("unchecked")
def test_what_is_invalid_is_refused_by_its_name():
    with pytest.raises(bp.SettingError, match="expected metrics by name"):
        Scores([F1()], torch.device("cpu"))
    with pytest.raises(bp.SettingError, match="average is 'mean'; it is one of 'macro'"):
        F1(average="mean")
