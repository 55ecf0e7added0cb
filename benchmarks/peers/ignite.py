"""ignite: its supervised trainer and evaluator, with the metrics Loss and Accuracy."""

from ignite.engine import create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Accuracy, Loss
from torch import nn

from peers.task import lenet5, sgd


def run(task):
    train, test = task.loaders()
    model, criterion = lenet5(), nn.CrossEntropyLoss()
    trainer = create_supervised_trainer(model, sgd(model), criterion)
    metrics = {"loss": Loss(criterion), "accuracy": Accuracy()}
    evaluator = create_supervised_evaluator(model, metrics=metrics)
    trainer.run(train, max_epochs=1)
    found = evaluator.run(test).metrics
    return found["loss"], found["accuracy"]
