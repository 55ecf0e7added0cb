"""Losses kept with their graph from batch to batch."""

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import nn
from torch.utils.data import DataLoader


def finds_a_sum(model, loader, optimizer):
    total = 0.0
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss  # BP401
    return total


def finds_a_list(model, loader, optimizer):
    losses = []
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss)  # BP401
    return losses


def finds_a_sum_that_is_written_out(model, loader, optimizer):
    running = 0
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.l1_loss(model(x), y)
        loss.backward()
        optimizer.step()
        running = running + loss  # BP401
    return running


def finds_a_sum_before_the_backward_pass(model, loader, optimizer):
    criterion = nn.CrossEntropyLoss()
    total = torch.zeros(1)
    for images, labels in loader:
        loss = criterion(model(images), labels)
        total += loss  # BP401
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return total.item()


def finds_a_sum_of_one_term(model, loader, optimizer):
    total_reconstruction = 0
    for x, y in loader:
        optimizer.zero_grad()
        prediction = model(x)
        reconstruction = F.mse_loss(prediction, x)
        loss = reconstruction + 0.1 * F.l1_loss(prediction, y)
        loss.backward()
        optimizer.step()
        total_reconstruction += reconstruction  # BP401


def finds_a_sum_times_the_batch_size(model, dataset, optimizer):
    loader = DataLoader(dataset, batch_size=32)
    total = 0
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss * x.size(0)  # BP401
    return total / len(dataset)


class FindsInAMethod:
    def __init__(self, model, optimizer):
        self.model, self.optimizer = model, optimizer
        self.criterion = nn.MSELoss()

    def finds_in_a_method(self, loader):
        epoch_loss = 0
        for x, y in loader:
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            epoch_loss += loss  # BP401
        return epoch_loss


def finds_under_accelerate(model, loader, optimizer, accelerator):
    total = 0
    for batch in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch["x"]), batch["y"])
        accelerator.backward(loss)
        optimizer.step()
        total += loss  # BP401
    return total


def finds_under_a_scaler(model, loader, optimizer, scaler):
    total = 0
    for x, y in loader:
        optimizer.zero_grad()
        with torch.autocast("cuda"):
            loss = F.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        total += loss  # BP401
    return total


def finds_a_sum_that_is_emptied_now_and_then(model, train_loader, optimizer):
    total = 0
    for i, (x, y) in enumerate(train_loader):
        loss = F.mse_loss(model(x), y)
        total += loss  # BP401
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (i + 1) % 50 == 0:
            print(total.item() / 50)
            total = 0


def finds_a_term_that_a_model_gives(model, train_loader, optimizer):
    sums = {"loss": 0.0, "divergence": 0.0}
    for x, y in train_loader:
        output, divergence = model(x)
        loss = F.mse_loss(output, y) + divergence
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        sums["loss"] += loss.item()
        sums["divergence"] += divergence  # BP401


def finds_a_loss_of_episodes(model, episodes, optimizer, play):
    history = []
    for _ in range(episodes):
        chances = play(model)
        loss = -torch.stack(chances).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss)  # BP401


def passes_a_loss_of_episodes_as_a_number(model, episodes, optimizer, play):
    history = []
    for _ in range(episodes):
        chances = play(model)
        loss = -torch.stack(chances).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss = loss.item()
        history.append(loss)


def passes_a_number_of_a_term_that_a_model_gives(model, train_loader, optimizer):
    total = 0.0
    for x, y in train_loader:
        output, divergence = model(x)
        loss = F.mse_loss(output, y) + divergence
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += divergence.item()


def passes_item(model, loader, optimizer):
    total = 0.0
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total


def passes_detach(model, loader, optimizer):
    losses = []
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def passes_float(model, loader, optimizer):
    total = 0.0
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        total += float(loss)
    return total


def passes_a_sum_that_is_back_propagated(model, loader, optimizer):
    for batch in loader:
        optimizer.zero_grad()
        total = 0
        for x, y in batch:
            total += F.mse_loss(model(x), y)
        total.backward()
        optimizer.step()


def passes_a_sum_over_the_tasks_of_one_step(model, tasks, optimizer):
    losses = []
    for x, y in tasks:
        losses.append(F.mse_loss(model(x), y))
    optimizer.zero_grad()
    sum(losses).backward()
    optimizer.step()


def passes_no_grad(model, loader):
    model.eval()
    total = 0
    with torch.no_grad():
        for x, y in loader:
            total += F.cross_entropy(model(x), y, reduction="sum")
    return total


@torch.no_grad()
def passes_a_decorator(model, loader):
    model.eval()
    losses = []
    for x, y in loader:
        losses.append(F.cross_entropy(model(x), y, reduction="sum"))
    return sum(losses)


def passes_data(model, loader, optimizer):
    total = 0
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.data
    return total


def passes_a_name_that_was_detached(model, loader, optimizer):
    total = 0
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        loss = loss.detach()
        total += loss
    return total


def passes_truncated_backpropagation(model, loader, optimizer):
    window = 0
    for i, (x, y) in enumerate(loader):
        window = window + F.mse_loss(model(x), y, reduction="sum")
        if (i + 1) % 4 == 0 or i + 1 == len(loader):
            optimizer.zero_grad()
            window.backward()
            optimizer.step()
            window = 0


def misses_a_loss_of_another_file(model, loader, optimizer):
    total = 0
    for x, y in loader:
        optimizer.zero_grad()
        output = model(x, y)
        output.loss.backward()
        optimizer.step()
        total += output.aux  # missed BP401
    return total


def misses_a_dictionary(model, loader, optimizer):
    seen = {}
    for i, (x, y) in enumerate(loader):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        seen[i] = loss  # missed BP401
    return seen


class Passes:
    def step(self, model, x, y):
        loss = self.criterion
        loss.reset()
        loss.add(model(x), y)
        loss.backward()
        return loss.get()


def passes_a_number_with_the_name_of_an_object(model, loader):
    trainer, total = Passes(), 0.0
    for x, y in loader:
        loss = trainer.step(model, x, y)
        total += loss
    return total


def passes_a_list_of_one_batch(model, nets, loader, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        losses = []
        for _ in range(4):
            loss = F.cross_entropy(model(x), y)
            losses.append(loss)
            loss.backward()  # BP105 likely
        print(sum(loss.item() for loss in losses) / len(losses))
        optimizer.step()


def finds_outputs_of_a_training_loop(model, loader, optimizer):
    outputs, copies = [], []
    for x, y in loader:
        optimizer.zero_grad()
        scores = model(x)
        F.cross_entropy(scores, y).backward()
        optimizer.step()
        outputs.append(scores)  # BP401
        copies.append(scores.cpu())  # BP401
    return outputs, copies


def passes_what_is_taken_from_outputs(model, loader, optimizer):
    classes, copies, hits, texts = [], [], [], []
    for x, y in loader:
        optimizer.zero_grad()
        scores = model(x)
        F.cross_entropy(scores, y).backward()
        optimizer.step()
        classes.append(scores.argmax(1))
        copies.append(scores.detach().cpu())
        copies.append(scores.data)
        hits.append(scores.max(1)[1] == y)
        texts.append(scores.tolist())
    return classes, copies, hits, texts


def passes_outputs_of_one_sequence(model, loader, optimizer):
    for x, y in loader:
        outputs = []
        for step in range(5):
            output = model(x, step)
            outputs.append(output)
        optimizer.zero_grad()
        F.cross_entropy(torch.stack(outputs).mean(0), y).backward()
        optimizer.step()


class KeepsItsSteps(LightningModule):
    """What a step of Lightning returns is back-propagated out of sight."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        scores = self(x)
        loss = F.cross_entropy(scores, y)
        self.losses.append(loss)  # BP401
        self.outputs.append(scores)  # BP401
        self.numbers.append(loss.detach())
        self.classes.append(scores.argmax(1))
        return loss

    def on_train_epoch_end(self):
        self.losses.clear()


def finds_losses_of_an_evaluation(model, train_loader, val_loader, optimizer):
    for x, y in train_loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
    with torch.enable_grad():
        _evaluate(model, val_loader)


def _evaluate(model, val_loader):
    model.eval()
    total = count = 0
    for x, y in val_loader:
        loss = F.mse_loss(model(x), y, reduction="sum")  # BP405
        total += loss  # BP401
        count += len(x)
    print(total / count)


def passes_losses_of_an_evaluation_without_autograd(model, train_loader, val_loader, optimizer):
    for x, y in train_loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
    model.eval()
    total = count = 0
    with torch.no_grad():
        for x, y in val_loader:
            total += F.mse_loss(model(x), y, reduction="sum")
            count += len(x)
    print(total / count)


def passes_losses_of_held_out_data_that_are_back_propagated(model, val_loader, optimizer):
    model.eval()
    total = 0
    with torch.enable_grad():
        for x, y in val_loader:
            total += F.mse_loss(model(x), y, reduction="sum")
    total.backward()
    optimizer.step()


def finds_a_dict_of_losses(model, loader, optimizer):
    history = []
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        history.append({"loss": loss, "size": len(x)})  # BP401
    return history


def passes_a_dict_of_numbers(model, loader, optimizer):
    history = []
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        history.append({"loss": loss.item(), "size": len(x)})
    return history


class KeepsDicts(LightningModule):
    def training_step(self, batch, _):
        x, y = batch
        loss = F.mse_loss(self.net(x), y)
        results = {"loss": loss, "size": len(x)}
        self.results.append(results)  # BP401
        return results

    def on_train_epoch_end(self):
        print(len(self.results))


class KeepsDictsOfNumbers(LightningModule):
    def training_step(self, batch, _):
        x, y = batch
        loss = F.mse_loss(self.net(x), y)
        self.results.append({"loss": loss.detach(), "size": len(x)})
        return loss

    def on_train_epoch_end(self):
        print(len(self.results))


def finds_a_number_of_the_outputs(model, loader, optimizer):
    total = 0.0
    for x, y in loader:
        z, out = model(x)
        loss = F.mse_loss(out, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += torch.mean(torch.abs(z))  # BP401
    return total


def passes_a_number_of_outputs_without_a_graph(model, loader, optimizer):
    total = 0.0
    for x, y in loader:
        z, out = model(x)
        loss = F.mse_loss(out, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += torch.mean(torch.abs(z.detach()))
    return total


def passes_an_accuracy_of_torchmetrics(model, loader, optimizer, classes):
    from torchmetrics import Accuracy

    accuracy, total = Accuracy(task="multiclass", num_classes=classes), 0.0
    for x, y in loader:
        out = model(x)
        loss = F.cross_entropy(out, y)
        total += accuracy(out, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return total


def finds_a_list_of_losses_that_are_averaged_after_it(model, loader, optimizer):
    losses = []
    for x, y in loader:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss)  # BP401
    first = losses[0]
    return first / len(losses)


def passes_a_list_of_losses_that_are_back_propagated_one_by_one_after_it(model, twin, loader):
    losses = []
    for x, y in loader:
        F.cross_entropy(twin(x), y).backward()
        loss = F.cross_entropy(model(x), y)
        loss.backward(retain_graph=True)
        losses.append(loss)
    for i in range(3):
        loss = losses[i]
        loss.backward()


class SumsTensors:
    def __init__(self):
        self.sum, self.count = 0, 0

    def update(self, value, n=1):
        self.sum += value * n
        self.count += n


class TensorMeter(SumsTensors):
    def update(self, value, n=1):
        self.sum += value * n
        self.count += n


class NumberMeter(SumsTensors):
    def update(self, value, n=1):
        self.sum += float(value) * n
        self.count += n


def finds_a_meter_that_adds_up_tensors(model, loader, optimizer):
    losses = TensorMeter()
    for x, y in loader:
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.update(loss, x.size(0))  # BP401
    return losses


def passes_a_number_given_to_it(model, loader, optimizer):
    losses = TensorMeter()
    for x, y in loader:
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.update(loss.item(), x.size(0))
    return losses


def passes_a_meter_that_adds_up_numbers(model, loader, optimizer):
    losses = NumberMeter()
    for x, y in loader:
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.update(loss, x.size(0))
    return losses
