"""What was given in place of data, a loss or an option is named in one line, with the remedy."""

import pytest
import torch

import batchproof as bp
from small_runs import batches, classifier, criterion


def _trainer(**options):
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return bp.Trainer(model, criterion(), optimizer, progress=False, **options)


def _step(window):
    model = classifier()
    return bp.Step(model, torch.optim.SGD(model.parameters(), lr=0.1))(window, criterion())


TAKES_BATCHES = {
    "fit": lambda data: _trainer().fit(data, max_epochs=1),
    "fit with validation data": lambda data: _trainer(monitor="val_other_loss").fit(
        batches(), {"other": data}, max_epochs=1
    ),
    "dry_run": lambda data: _trainer().dry_run(data),
    "find_lr": lambda data: _trainer().find_lr(data),
    "Trainer.evaluate": lambda data: _trainer().evaluate(data),
    "predict": lambda data: _trainer().predict(data),
    "evaluate": lambda data: bp.evaluate(classifier(), data, criterion()),
    "windows": lambda data: bp.windows(data, accumulate=2),
    "step": _step,
}


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (None, "None"),
        (3, "3"),
        ("train", "'train'"),
        (list, "the class list"),
        (batches, "the function batches"),
        ({"train": [1]}, "({|a dict)"),
        (torch.ones(4, 2, 3), "(a )?Tensor"),
    ],
)
@pytest.mark.parametrize("call", TAKES_BATCHES.values(), ids=TAKES_BATCHES)
def test_what_gives_no_batches_is_named(call, data, shown, unchecked):
    with pytest.raises(bp.SettingError, match=rf"is {shown}.*; expected an? (iterable|list) of"):
        call(data)


def test_what_is_iterated_by_index_gives_batches(unchecked):
    class Indexed:
        def __getitem__(self, index):
            return list(batches())[index]

    # Python iterates it as well, until an IndexError
    assert len(list(bp.windows(Indexed()))) == len(batches())
    assert bp.evaluate(classifier(), Indexed(), criterion()).samples > 0


def test_a_first_batch_without_samples_is_trained_past():
    inputs, targets = next(iter(batches()))
    data = [(inputs[:0], targets[:0]), (inputs, targets)]
    history = _trainer(limit_val_batches=2).fit(data, data, max_epochs=1)
    assert (
        history.values("val_loss")[0]
        == _trainer().fit(data, data[1:], max_epochs=1).values("val_loss")[0]
    )
    assert history.last("train_loss").weight == len(targets)


@pytest.mark.parametrize("terms", [1, 2])
def test_an_epoch_in_which_nothing_counts_is_told(terms, capsys):
    inputs, targets = next(iter(batches()))
    ignored = [(inputs, torch.full_like(targets, -100))] * 2
    one = criterion()

    def loss(model, batch):
        outcome = one(model, batch).terms
        return outcome if terms == 1 else {"first": outcome, "second": outcome}

    def trainer():
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return bp.Trainer(model, loss, optimizer, count="forward")

    history = trainer().fit(ignored, max_epochs=2)
    assert [notice.partition(",")[0] for notice in history.notices] == [
        "epoch 1: no step was taken",
        "epoch 2: no step was taken",
    ]
    assert "nothing in it counts" in capsys.readouterr().err
    # one window that counts is enough
    assert trainer().fit([*ignored, (inputs, targets)], max_epochs=1).notices == []


def test_an_estimate_has_no_order_and_says_what_has(unchecked):
    estimate = bp.evaluate(classifier(), batches(), criterion())
    for compare in (lambda: estimate < 1, lambda: estimate > 1, lambda: estimate >= estimate):
        with pytest.raises(bp.PairError, match=r"Compare numbers: estimate\.value"):
            compare()


def test_a_data_set_in_place_of_a_loader_is_told_of_loaders():
    inputs, targets = next(iter(batches()))
    data = torch.utils.data.TensorDataset(inputs, targets)
    with pytest.raises(bp.ShapeError, match=r"Let a torch\.utils\.data\.DataLoader batch the"):
        _trainer().fit(data, max_epochs=1)


def test_a_breakdown_without_groups_is_refused_by_its_own_name():
    for call in (
        lambda: bp.evaluate(classifier(), batches(), criterion(), by=lambda batch: batch[1]),
        lambda: _trainer(by=lambda batch: batch[1]),
    ):
        with pytest.raises(bp.SettingError, match="by was given without groups; give their number"):
            call()


def test_a_metric_that_returns_no_mean_is_named_in_an_evaluation_too():
    loss = bp.supervised(
        torch.nn.CrossEntropyLoss(),
        metrics={"hits": lambda outputs, targets: (outputs.argmax(1) == targets).float().mean()},
    )
    with pytest.raises(bp.SettingError, match="the loss returned Tensor for 'hits'"):
        bp.evaluate(classifier(), batches(), loss)


def test_metrics_of_supervised_that_are_none_are_refused(unchecked):
    with pytest.raises(bp.SettingError, match=r"metrics is .*; expected functions by name"):
        bp.supervised(torch.nn.CrossEntropyLoss(), metrics=[bp.accuracy])
    with pytest.raises(bp.SettingError, match=r"f1 is F1.*such as F1, go to Trainer\(metrics="):
        bp.supervised(torch.nn.CrossEntropyLoss(), metrics={"f1": bp.meter.F1()})


@pytest.mark.parametrize(
    ("optimizer", "shown"),
    [(torch.optim.SGD, "the class SGD"), ([], r"\[\]"), ("sgd", "'sgd'")],
)
def test_what_is_no_optimizer_is_named(optimizer, shown, unchecked):
    with pytest.raises(bp.SettingError, match=f"optimizer is {shown}; expected a torch.optim"):
        bp.Step(classifier(), optimizer)


@pytest.mark.parametrize(
    "options", [{"max_grad_norm": "1"}, {"max_grad_norm": True}, {"count": "ahead"}, {"count": 3}]
)
def test_an_option_of_a_step_is_checked_when_the_step_is_made(options, unchecked):
    model = classifier()
    ((name, value),) = options.items()
    with pytest.raises(bp.SettingError, match=f"{name} is {value!r}; expected"):
        bp.Step(model, torch.optim.SGD(model.parameters(), lr=0.1), **options)


@pytest.mark.parametrize("device", ["gpu", "cuda:x", None, 3.5])
def test_a_device_that_is_none_is_refused_in_one_short_line(device, unchecked):
    with pytest.raises(bp.SettingError, match=f"device is .?{device}") as caught:
        _trainer(device=device).fit(batches(), max_epochs=1)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_arguments_in_the_wrong_order_are_named_in_one_line(unchecked):
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(bp.SettingError, match=r"^loss is SGD; expected a function loss\(model, b"):
        bp.Trainer(model, optimizer, criterion())
    with pytest.raises(bp.SettingError, match=r"^model is SGD; expected a torch\.nn\.Module"):
        bp.Step(optimizer, model)
    with pytest.raises(bp.CriterionError, match=r"^the criterion is the class MSELoss; expected"):
        bp.exact(torch.nn.MSELoss)
