"""The loss of the last batch, reported as that of the pass."""

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset


@torch.no_grad()
def finds_a_sum_that_is_none(model, val_loader):
    val_loss = 0.0
    for x, y in val_loader:
        val_loss = F.mse_loss(model(x), y).item()  # BP205
    return val_loss


@torch.no_grad()
def finds_a_division_by_batches(model, loader):
    total_loss = 0.0
    for x, y in loader:
        total_loss = F.mse_loss(model(x), y)  # BP205
    return total_loss / len(loader)


@torch.no_grad()
def finds_the_wrong_name(model, loader):
    total_a, total_b = 0.0, 0.0
    for x, y in loader:
        a = F.mse_loss(model(x), y, reduction="sum")
        b = F.l1_loss(model(x), y, reduction="sum")
        total_a += a.item()
        total_b += b.item()
    a = total_a / len(loader.dataset)
    b = b / len(loader.dataset)  # BP205
    return a, b


@torch.no_grad()
def finds_the_mean_of_a_number(model, loader):
    losses = []
    for x, y in loader:
        loss = F.mse_loss(model(x), y).item()
        losses.append(loss)
    return np.mean(loss)  # BP205


@torch.no_grad()
def finds_a_printed_loss(model, val_loader):
    model.eval()
    for x, y in val_loader:
        loss = F.mse_loss(model(x), y)
    print("validation loss", loss.item())  # BP205


@torch.no_grad()
def finds_a_logged_loss(model, val_loader, writer, epoch):
    for x, y in val_loader:
        loss = F.cross_entropy(model(x), y)
    writer.add_scalar("val/loss", loss.item(), epoch)  # BP205


@torch.no_grad()
def finds_a_formatted_loss(model, val_loader, logger):
    for x, y in val_loader:
        loss = F.cross_entropy(model(x), y).item()
    logger.info(f"validation loss {loss:.3f}")  # BP205


def finds_a_training_loss(model, train_loader, optimizer):
    for _ in range(10):
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
        print("epoch loss", loss.item())  # BP205


@torch.no_grad()
def passes_a_sum(model, loader):
    val_loss, seen = 0.0, 0
    for x, y in loader:
        val_loss += F.mse_loss(model(x), y, reduction="sum").item()
        seen += len(x)
    return val_loss / seen


@torch.no_grad()
def passes_a_list(model, loader):
    losses = []
    for x, y in loader:
        losses.append(F.mse_loss(model(x), y, reduction="none"))
    return torch.cat(losses)


def passes_a_loss_printed_in_the_loop(model, train_loader, optimizer):
    for i, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        if i % 100 == 0:
            print(loss.item())


@torch.no_grad()
def passes_one_batch_on_purpose(model, loader):
    for x, y in loader:
        loss = F.mse_loss(model(x), y)
        break
    return loss


def passes_a_mean_over_steps_of_one_batch(model, x, y, optimizer):
    for _ in range(100):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
    return loss.item()


@torch.no_grad()
def passes_a_loss_of_all_at_once(model, loader):
    outputs, targets = [], []
    for x, y in loader:
        outputs.append(model(x))
        targets.append(y)
    return F.mse_loss(torch.cat(outputs), torch.cat(targets)).item()


@torch.no_grad()
def passes_a_difference_of_weights(model, loader):
    total, seen = 0.0, 0
    for x, y in loader:
        loss = F.mse_loss(model(x), y).item()
        total += loss * len(x)
        seen += len(x)
    loss = total / seen
    return loss


def passes_a_return_in_the_loop(model, loader):
    for x, y in loader:
        loss = F.mse_loss(model(x), y)
        return loss
    return None


@torch.no_grad()
def finds_a_dict_of_losses(model, loader):
    metrics = {}
    for x, y in loader:
        metrics["loss"] = F.mse_loss(model(x), y).item()  # BP205
    return metrics


@torch.no_grad()
def finds_a_list_of_one(model, loader):
    latest = []
    for x, y in loader:
        latest = [F.mse_loss(model(x), y).item()]
    return latest[0]  # BP205


@torch.no_grad()
def misses_what_a_callback_keeps(model, loader, callback):
    for x, y in loader:
        callback.latest(F.mse_loss(model(x), y).item())
    return callback.value  # missed BP205


@torch.no_grad()
def misses_a_loss_that_is_no_loss_by_name(model, loader, score):
    value = 0.0
    for x, y in loader:
        value = score(model(x), y)
    return value  # missed BP205


@torch.no_grad()
def passes_sums_in_a_dict(model, loader):
    sums = {}
    for x, y in loader:
        loss = F.mse_loss(model(x), y, reduction="sum").item()
        sums["loss"] = loss + sums.get("loss", 0.0)
        sums["seen"] = len(x) + sums.get("seen", 0)
    return sums["loss"] / sums["seen"]


@torch.no_grad()
def finds_a_metric_by_its_name(model, val_loader, dice_coefficient):
    for x, y in val_loader:
        dice = dice_coefficient(model(x), y)
    print("dice", dice)  # BP205 likely


@torch.no_grad()
def passes_a_metric_of_all(model, val_loader, dice_coefficient):
    scores, targets = [], []
    for x, y in val_loader:
        scores.append(model(x))
        targets.append(y)
    print("dice", dice_coefficient(torch.cat(scores), torch.cat(targets)))


def passes_sums_in_a_dict_of_unknown_keys(model, val_loader, objective, names):
    sums = {f"{name}_loss": 0.0 for name in names}
    for x, y in val_loader:
        loss, parts = objective(model(x), y)
        print(loss.item())
        for k, v in parts.items():
            sums[k] += v
    return {k: v / len(val_loader) for k, v in sums.items()}


def finds_a_history_of_last_batches(model, loader, optimizer):
    history = []
    for _ in range(10):
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
        history.append(loss.item())  # BP205 likely
    return history


def passes_a_history_of_all_batches(model, loader, optimizer):
    history = []
    for _ in range(10):
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            history.append(loss.item())
    return history


def passes_the_one_batch_of_a_loader(model, data, optimizer):
    loader = DataLoader(data, batch_size=len(data))
    for epoch in range(10):
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
        print(epoch, loss.item())


def passes_a_number_computed_from_its_former_value(model, loader, optimizer):
    running_loss = None
    for x, y in loader:
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running_loss = smooth_loss(loss.item(), running_loss)
    print(running_loss)


def finds_a_loss_that_passes_through_a_function(model, loader):
    with torch.no_grad():
        for x, y in loader:
            val_loss = F.mse_loss(model(x), y)
            val_loss = shown_loss(val_loss)
    print(val_loss)  # BP205


def finds_an_array_that_grows(model, loader):
    batch_loss = np.array([])
    for x, y in loader:
        batch_loss = np.append(batch_loss, [F.mse_loss(model(x), y).item()])
    epoch_loss = batch_loss.mean()  # BP201 likely
    return epoch_loss


def finds_a_training_loss_of_an_epoch(model, data, optimizer, epochs):
    loader = DataLoader(data, batch_size=32, shuffle=True)
    history = []
    for epoch in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
        print(epoch, loss.item())  # BP205
        history.append(loss.item())


def finds_a_history_of_epochs(model, data, optimizer, num_epochs):
    loader = DataLoader(data, batch_size=32, shuffle=True)
    history = []
    for e in range(num_epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            if torch.isnan(loss):
                break
        history.append(loss.item())  # BP205
    return history


def finds_what_an_interval_of_steps_gives(model, data, optimizer, num_epochs):
    loader = DataLoader(data, batch_size=32, shuffle=True)
    for epoch in range(num_epochs):
        for i, (x, y) in enumerate(loader):
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            if i % 10 == 0:
                recent = loss.item()
        print(f"Epoch {epoch}: {recent}")  # BP205 likely


def finds_what_is_said_to_be_of_the_last_batch(model, data, optimizer, num_epochs):
    loader = DataLoader(data, batch_size=32, shuffle=True)
    for epoch in range(num_epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
        print(f"Epoch {epoch}, loss of the last batch: {loss.item()}")  # BP205 likely


def passes_one_batch_of_all_samples(model, optimizer, num_epochs):
    data = TensorDataset(torch.randn(64, 3), torch.randn(64))
    loader = DataLoader(data, batch_size=64)
    for epoch in range(num_epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
        print(f"Epoch {epoch}: {loss.item()}")


def passes_a_loop_that_ends_at_a_target(model, data, optimizer, num_epochs):
    loader = DataLoader(data, batch_size=32, shuffle=True)
    for epoch in range(num_epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            if loss.item() < 0.01:
                break
        print(f"Epoch {epoch}: {loss.item()}")


@torch.no_grad()
def finds_hits_that_are_set_and_not_added(model, loader, size_of):
    hits, count = 0, 0
    for x, y in loader:
        hits = (model(x).argmax(1) == y).sum().item()  # BP205
        count += size_of(y)
    return hits / count


@torch.no_grad()
def finds_a_loss_in_a_template_out_of_sight(model, dev_loader, template, epoch):
    dev_loss, correct = 0, 0
    for x, y in dev_loader:
        answer = model(x)
        correct += (answer.argmax(1) == y).sum().item()
        dev_loss = F.cross_entropy(answer, y)  # BP205
    print(template.format(epoch, dev_loss.item(), correct))


@torch.no_grad()
def finds_the_loss_beside_its_sum(model, val_loader, epoch):
    val_loss = 0.0
    for x, y in val_loader:
        loss = F.cross_entropy(model(x), y)
        val_loss += loss.item()
    print(f"Epoch {epoch}, validation loss {loss.item():.4f}")  # BP205


@torch.no_grad()
def passes_an_average_that_takes_losses_as_a_list(model, val_loader, criterion, library):
    run_loss = library.CumulativeAverage()
    for x, y in val_loader:
        loss = criterion(model(x), y)
        run_loss.append(loss)
        loss = run_loss.aggregate()
    return loss


def finds_the_wrong_name_beside_a_sum(model, val_loader):
    model.eval()
    val_loss, n = 0.0, 0
    with torch.no_grad():
        for x, y in val_loader:
            batch_val_loss = F.cross_entropy(model(x), y, reduction="sum").item()
            val_loss += batch_val_loss
            n += len(y)
    print(batch_val_loss)  # BP205
    return val_loss / n


@torch.no_grad()
def finds_hits_that_are_assigned(model, batches):
    correct, count = 0, 0
    for x, y in batches:
        correct = (model(x).argmax(1) == y).sum().item()  # BP205
        count += len(y)
    return correct / count


@torch.no_grad()
def finds_a_loss_with_a_weight(model, val_loader, weight):
    for x, y in val_loader:
        loss = weight * F.mse_loss(model(x), y)
    return loss.item()  # BP205


def finds_a_number_that_is_called_new(model, train_loader, optimizer):
    loss_old, loss_new = 0, 0
    for epoch in range(100):
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss_new = loss.item()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}, loss {loss_new}")  # BP205
        if abs(loss_new - loss_old) < 0.001:
            break
        loss_old = loss_new


def finds_a_loss_that_is_none_before(model, train_loader, optimizer, history):
    for _epoch in range(10):
        loss = None
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
        history["loss"].append(loss.item())  # BP205


def finds_the_loss_of_the_last_slice(model, x, optimizer, epochs, size):
    batches = int(len(x) / size)
    for epoch in range(epochs):
        for i in range(batches):
            start = (i * size) % len(x)
            part = x[start : start + size, :]
            optimizer.zero_grad()
            loss = F.mse_loss(model(part), part)
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: {loss.item()}")  # BP205


def finds_the_last_loss_of_training_in_a_validation(model, data, held_out, optimizer):
    train_loader = DataLoader(data, batch_size=32, shuffle=True)
    val_loader = DataLoader(held_out, batch_size=32)
    for _ in range(10):
        train_loss, val_loss = 0.0, 0.0
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            train_loss += loss.item() * x.size(0)
        model.eval()
        with torch.no_grad():
            for x, _ in val_loader:
                model(x)
                val_loss += loss.item() * x.size(0)  # BP205
        print(train_loss / len(data), val_loss / len(held_out))


def passes_a_loss_of_each_loop(model, data, held_out, optimizer):
    train_loader = DataLoader(data, batch_size=32, shuffle=True)
    val_loader = DataLoader(held_out, batch_size=32)
    for _ in range(10):
        train_loss, val_loss = 0.0, 0.0
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            train_loss += loss.item() * x.size(0)
        model.eval()
        with torch.no_grad():
            for x, y in val_loader:
                loss = F.mse_loss(model(x), y)
                val_loss += loss.item() * x.size(0)
        print(train_loss / len(data), val_loss / len(held_out))


def finds_what_a_function_of_an_epoch_gives(model, train_loader, optimizer):
    def train_one_epoch():
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
        return loss.item()  # BP205

    return train_one_epoch


def _fit(model, loader, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
    return loss.item()  # BP205


def finds_what_a_function_gives_where_it_is_printed(model, data, optimizer):
    loader = DataLoader(data, batch_size=32)
    for _epoch in range(10):
        result = _fit(model, loader, optimizer)
        print(f"training loss: {result:.4f}")


def finds_a_schedule_that_is_given_the_last_loss(model, data, optimizer):
    loader = DataLoader(data, batch_size=32)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    for _epoch in range(10):
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
        scheduler.step(loss)  # BP205


def finds_a_short_name_of_an_epoch(model, data, optimizer):
    loader = DataLoader(data, batch_size=32)
    for ep in range(10):
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
        print(ep, loss.item())  # BP205


def finds_an_array_of_last_losses(model, data, optimizer, num_epochs):
    loader = DataLoader(data, batch_size=32)
    history = np.zeros(num_epochs)
    for epoch in range(num_epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
        history[epoch] = loss.item()  # BP205
    return history


class AverageMeter:
    def __init__(self):
        self.val, self.sum, self.count, self.avg = 0.0, 0.0, 0, 0.0

    def update(self, value, n=1):
        self.val = value
        self.sum += value * n
        self.count += n
        self.avg = self.sum / self.count


def finds_the_last_value_of_a_meter(model, data, optimizer):
    loader, losses = DataLoader(data, batch_size=32), AverageMeter()
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.update(loss.item(), len(x))
    return losses.val  # BP205


def passes_the_last_value_beside_the_mean(model, data, optimizer):
    loader = DataLoader(data, batch_size=32)
    for epoch in range(10):
        losses = AverageMeter()
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            losses.update(loss.item(), len(x))
        print(f"epoch {epoch} loss {losses.val} ({losses.avg})")


def finds_the_last_of_a_list(model, data, optimizer):
    loader, losses = DataLoader(data, batch_size=32), []
    for epoch in range(10):
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            print(losses[-1])
        print(f"epoch {epoch} loss {losses[-1]}")  # BP205


def finds_the_last_loss_of_all_passes(model, data, optimizer):
    loader = DataLoader(data, batch_size=32)
    for _epoch in range(10):
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
    print("train loss", loss.item())  # BP205


def passes_the_last_loss_of_steps(model, loader, optimizer):
    for step in range(1000):
        x, y = next(iter(loader))
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
    print("train loss", loss.item())


def finds_the_sum_of_the_last_losses(model, data, optimizer):
    loader, total = DataLoader(data, batch_size=32), 0.0
    for epoch in range(10):
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
        total += loss.item()  # BP205
        print(total / (epoch + 1))


def train(model, loader, optimizer, epoch):
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
    return loss.item()  # BP205


@torch.no_grad()
def passes_losses_of_a_list_of_results(model, data):
    loader, results, total, count = DataLoader(data, batch_size=32), [], 0.0, 0
    for x, y in loader:
        loss = F.mse_loss(model(x), y, reduction="sum")
        results.append({"loss": loss.item(), "count": len(x)})
    for result in results:
        total += result["loss"]
        count += result["count"]
    return total / count


def passes_a_schedule_of_the_losses_of_minibatches(model, data, optimizer, scheduler):
    loader, minibatch_losses = DataLoader(data, batch_size=32), []
    for _epoch in range(10):
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            minibatch_losses.append(loss.item())
        scheduler.step(minibatch_losses[-1])  # BP205 likely


@torch.no_grad()
def finds_batches_that_are_taken_by_number(model, criterion, test_batches):
    for i in range(len(test_batches)):
        x, y = test_batches[i]
        loss = criterion(model(x), y)
    return loss.item()  # BP205


@torch.no_grad()
def passes_samples_that_are_taken_by_number(model, criterion, samples):
    total = 0.0
    for i in range(len(samples)):
        x, y = samples[i]
        total += criterion(model(x), y).item()
    return total / len(samples)


@torch.no_grad()
def finds_a_name_that_other_functions_set_to_0(model, criterion, val_loader):
    for x, y in val_loader:
        loss = criterion(model(x), y)
    return loss.item()  # BP205


@torch.no_grad()
def finds_scores_of_the_last_batch(model, val_loader, accuracy, file):
    for x, y in val_loader:
        score = accuracy(model(x), y)
    file.write(f"{score}")  # BP205
    print("of all of them", len(val_loader))


def optimise(model, data, optimizer, epoch):
    for x, y in data:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
    print(epoch, "done")
    return loss.item()  # BP205


class Batches:
    def __init__(self, loader):
        self.loader = loader

    def __iter__(self):
        for batch in self.loader:
            yield batch["x"], batch["y"]


@torch.no_grad()
def finds_batches_of_an_object(model, data):
    batches = Batches(DataLoader(data, batch_size=32))
    for x, y in batches:
        loss = F.mse_loss(model(x), y)
    return loss.item()  # BP205


def finds_it_in_a_loop_that_skips_what_a_run_has_done(model, train_loader, optimizer, done):
    history = {"train_loss": []}
    for _epoch in range(10):
        for x, y in train_loader:
            if done > 0:
                done -= 1
                continue
            loss = F.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            current_loss = loss.item()
        history["train_loss"].append(current_loss)  # BP205
    return history


def finds_a_loss_that_an_option_chooses(model, train_loader, optimizer, losses, options):
    for epoch in range(10):
        for x, y in train_loader:
            if options.task == "regression":
                loss = F.mse_loss(model(x), y)
            else:
                loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print("epoch", epoch, "loss", loss.item())  # BP205
