"""Metrics that are not means, in evaluation, in training and over ranks."""

import pytest
import torch
from torch import nn

import batchproof as bp
import rank_processes
import rank_training
from batchproof.meter import AUROC, F1, ConfusionMatrix
from small_runs import batches, classifier, criterion, samples, trainer

sklearn = pytest.importorskip("sklearn.metrics")


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
