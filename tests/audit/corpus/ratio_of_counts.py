"""Roots and ratios of batches, averaged."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from lightning import LightningModule
from segmentation_models_pytorch.metrics import iou_score
from sklearn.metrics import classification_report, f1_score, r2_score, roc_auc_score
from torch.utils.data import DataLoader
from torchmetrics import Accuracy, F1Score, JaccardIndex, MetricCollection, Recall, functional
from torchmetrics.classification import MulticlassAccuracy


@torch.no_grad()
def finds_a_root(model, loader):
    total = 0.0
    for x, y in loader:
        total += torch.sqrt(F.mse_loss(model(x), y)).item()
    return total / len(loader)  # BP208 likely


@torch.no_grad()
def finds_a_root_of_math(model, loader):
    total = 0.0
    for x, y in loader:
        total += math.sqrt(F.mse_loss(model(x), y).item())
    return total / len(loader)  # BP208 likely


@torch.no_grad()
def finds_a_power(model, loader):
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).item() ** 0.5
    return total / len(loader)  # BP208 likely


@torch.no_grad()
def finds_a_perplexity(model, loader):
    total = 0.0
    for x, y in loader:
        total += torch.exp(F.cross_entropy(model(x), y)).item()
    return total / len(loader)  # BP208 likely


@torch.no_grad()
def finds_a_list_of_roots(model, loader):
    roots = []
    for x, y in loader:
        roots.append(F.mse_loss(model(x), y).sqrt().item())
    return np.mean(roots)  # BP208 likely


@torch.no_grad()
def finds_a_name_for_the_root(model, loader):
    total = 0.0
    for x, y in loader:
        rmse = torch.sqrt(F.mse_loss(model(x), y))
        total += rmse.item()
    return total / len(loader)  # BP208 likely


@torch.no_grad()
def finds_a_counter(model, loader):
    total, batches = 0.0, 0
    for x, y in loader:
        total += F.mse_loss(model(x), y).sqrt().item()
        batches += 1
    return total / batches  # BP208 likely


@torch.no_grad()
def finds_full_batches_too(model, data):
    loader = DataLoader(data, batch_size=64, drop_last=True)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).sqrt().item()
    return total / len(loader)  # BP208


@torch.no_grad()
def finds_perplexities_of_a_loader_in_sight(model, data):
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for x, y in loader:
        total += math.exp(F.cross_entropy(model(x), y).item())
    return total / len(loader)  # BP208


@torch.no_grad()
def finds_a_ratio_of_torchmetrics(model, data):
    loader = DataLoader(data, batch_size=64)
    metric, scores = F1Score(task="binary"), []
    for x, y in loader:
        scores.append(metric(model(x), y).item())
    return np.mean(scores)  # BP208


def finds_roots_while_training(model, data, optimizer):
    loader = DataLoader(data, batch_size=64)
    total = 0.0
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y).sqrt()
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader)  # BP208 likely


@torch.no_grad()
def finds_a_root_of_each_sample(model, data):
    loader = DataLoader(data, batch_size=1)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y).sqrt().item()
    return total / len(loader)  # BP208 likely


@torch.no_grad()
def passes_one_root(model, loader):
    total, seen = 0.0, 0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
        seen += y.numel()
    return math.sqrt(total / seen)


@torch.no_grad()
def passes_one_exponential(model, loader):
    total, seen = 0.0, 0
    for x, y in loader:
        total += F.cross_entropy(model(x), y, reduction="sum").item()
        seen += len(y)
    return math.exp(total / seen)


@torch.no_grad()
def passes_roots_of_samples(model, loader):
    total, seen = 0.0, 0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="none").sqrt().sum().item()
        seen += len(x)
    return total / seen


@torch.no_grad()
def passes_hits(model, loader):
    correct, seen = 0, 0
    for x, y in loader:
        correct += (model(x).argmax(1) == y).sum().item()
        seen += len(y)
    return correct / seen


@torch.no_grad()
def passes_a_root_of_everything(model, loader):
    outputs, targets = [], []
    for x, y in loader:
        outputs.append(model(x))
        targets.append(y)
    return torch.sqrt(F.mse_loss(torch.cat(outputs), torch.cat(targets)))


def passes_a_loss_that_is_a_root(model, train_loader, optimizer):
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = torch.sqrt(F.mse_loss(model(x), y))
        loss.backward()
        optimizer.step()


@torch.no_grad()
def passes_a_printed_root(model, loader):
    for x, y in loader:
        print(torch.sqrt(F.mse_loss(model(x), y)).item())


@torch.no_grad()
def passes_a_largest_root(model, loader):
    return max(F.mse_loss(model(x), y).item() ** 0.5 for x, y in loader)


@torch.no_grad()
def finds_a_score_out_of_sight(model, loader, f1_score):
    total = 0.0
    for x, y in loader:
        total += f1_score(model(x), y)
    return total / len(loader)  # BP208 likely


@torch.no_grad()
def misses_a_score_whose_name_says_little(model, loader, quality):
    total = 0.0
    for x, y in loader:
        total += quality(model(x), y)
    return total / len(loader)  # missed BP208


@torch.no_grad()
def misses_a_score_of_counts(model, loader, counts):
    total = 0.0
    for x, y in loader:
        hits, false = counts(model(x), y)
        total += 2 * hits / (2 * hits + false)
    return total / len(loader)  # missed BP208


@torch.no_grad()
def finds_a_ratio_by_its_name(model, val_loader, dice_coefficient):
    total = 0.0
    for x, y in val_loader:
        total += dice_coefficient(model(x), y).item()
    return total / len(val_loader)  # BP208 likely


@torch.no_grad()
def passes_counts_of_a_function(model, val_loader, counts):
    both = either = 0
    for x, y in val_loader:
        first, second = counts(model(x), y)
        both += first
        either += second
    return both / either


def _dice(scores, target):
    both = (scores * target).sum((0, 2, 3))
    return (2 * both / (scores.sum((0, 2, 3)) + target.sum((0, 2, 3)))).mean()


@torch.no_grad()
def finds_a_mean_over_classes_that_is_called_dice(model, val_loader):
    total = 0.0
    for x, y in val_loader:
        total += _dice(model(x), y).item()
    return total / len(val_loader)  # BP208 likely


@torch.no_grad()
def passes_a_root_of_each_sample(model, data):
    loader, total = DataLoader(data, batch_size=4), 0.0
    for x, y in loader:
        scores = model(x)
        for i in range(len(x)):
            difference = np.log(scores[i].numpy()) - np.log(y[i].numpy())
            total += np.sqrt(np.mean((difference - np.mean(difference)) ** 2))
    return total / len(data)


def passes_a_mean_over_folds(model, folds):
    scores = []
    for data in folds:
        labels, guesses = [], []
        with torch.no_grad():
            for x, y in DataLoader(data, batch_size=64):
                guesses.extend(model(x)[:, 1].tolist())
                labels.extend(y.tolist())
        scores.append({"auc": roc_auc_score(labels, guesses)})
    return np.mean([score["auc"] for score in scores])


class RatiosOfSteps(LightningModule):
    """What a step logs is averaged over the batches."""

    def __init__(self, net):
        super().__init__()
        self.net, self.f1, self.top = net, F1Score(task="binary"), MulticlassAccuracy(10)
        self.micro = F1Score(task="multiclass", num_classes=10)
        self.scores = {"recall": Recall(num_classes=3, average="macro"), "hits": Accuracy()}
        self.both = MetricCollection([Accuracy("binary"), JaccardIndex("binary")]).clone("val/")

    def training_step(self, batch, index):
        x, y = batch
        scores = self.net(x)
        self.log("of a step", functional.f1_score(scores, y, task="binary"))
        self.log("of an epoch", functional.auroc(scores, y, task="binary"), on_epoch=True)  # BP208
        return F.binary_cross_entropy(scores, y)

    def validation_step(self, batch, index):
        x, y = batch
        scores = self.net(x)
        self.log("loss", F.cross_entropy(scores, y))
        self.log("f1", self.f1(scores, y))  # BP208
        self.log("macro", self.top(scores, y))  # BP208
        self.log("hits of one label each", self.micro(scores, y))
        self.log("iou", functional.jaccard_index(scores, y, task="binary"))  # BP208
        labels = scores.argmax(1).cpu()
        self.log("of scikit-learn", f1_score(y.cpu(), labels, average="macro"))  # BP208
        self.log("a root", torch.sqrt(F.mse_loss(scores, y)))  # BP208 likely
        self.log("psnr", functional.peak_signal_noise_ratio(scores, y))  # BP208 likely
        self.log_dict({n: s.to(x.device)(scores, y) for n, s in self.scores.items()})  # BP208
        values = self.both(scores, y)
        self.log_dict(values)  # BP208
        self.log("of a step", functional.f1_score(scores, y, task="binary"), on_epoch=False)
        self.log("a sum", functional.f1_score(scores, y, task="binary"), reduce_fx="sum")
        report = classification_report(y.cpu(), scores.argmax(1).cpu(), output_dict=True)
        logs = {"precision": report["1"]["precision"], "n": report["1"]["support"]}
        self.log_dict({"loss": F.cross_entropy(scores, y), **logs})  # BP208

    def test_step(self, batch, index):
        """Logs the objects, which are computed at the end of the epoch."""
        x, y = batch
        scores = self.net(x)
        self.f1(scores, y)
        self.log("f1", self.f1)
        self.both.update(scores, y)
        self.log_dict(self.both)
        self.log("images", iou_score(x, scores, y, y, reduction="micro-imagewise"))
        self.log("pixels", iou_score(x, scores, y, y, reduction="micro"))  # BP208
        self.log("accuracy", functional.accuracy(scores, y, task="multiclass", num_classes=10))


class RatiosOfEpochs(LightningModule):
    def __init__(self, net):
        super().__init__()
        self.net, self.pairs = net, []

    def validation_step(self, batch, index):
        x, y = batch
        scores = self.net(x)
        self.pairs.append((scores, y))
        return {"f1": functional.f1_score(scores, y, task="binary"), "loss": F.mse_loss(scores, y)}

    def validation_epoch_end(self, results):
        self.log("f1", torch.stack([result["f1"] for result in results]).mean())  # BP208
        scores, y = (torch.cat(parts) for parts in zip(*self.pairs, strict=True))
        self.log("f1 of all", functional.f1_score(scores, y, task="binary"))

    def test_step(self, batch, index):
        x, y = batch
        self.log("dice", self.dice_of(self.net(x), y))  # BP208
        self.log("dice of images", self.dice_of_images(self.net(x), y).mean())

    def dice_of(self, scores, y):
        both = (scores * y).sum()
        return 2 * both / (scores.sum() + y.sum())

    def dice_of_images(self, scores, y):
        both = (scores * y).sum(dim=(1, 2))
        return 2 * both / (scores.sum(dim=(1, 2)) + y.sum(dim=(1, 2)))


class OneSampleAtATime(LightningModule):
    def __init__(self, net, data):
        super().__init__()
        self.net, self.data = net, data

    def val_dataloader(self):
        return DataLoader(self.data, batch_size=1)

    def validation_step(self, batch, index):
        x, y = batch
        self.log("iou", functional.jaccard_index(self.net(x), y, task="binary"))  # BP208 likely


@torch.no_grad()
def finds_a_peak_signal_to_noise_ratio(model, data):
    loader = DataLoader(data, batch_size=8)
    total = 0.0
    for x, y in loader:
        mse = F.mse_loss(model(x), y)
        total += 10 * math.log10(1 / mse.item())
    return total / len(loader)  # BP208


@torch.no_grad()
def finds_the_ratio_of_single_images_perhaps(model, data):
    loader = DataLoader(data, batch_size=1)
    total = 0.0
    for x, y in loader:
        total += 10 * torch.log10(1 / F.mse_loss(model(x), y)).item()
    return total / len(loader)  # BP208 likely


@torch.no_grad()
def passes_the_ratio_of_the_mean(model, data):
    loader = DataLoader(data, batch_size=8)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
    return 10 * math.log10(1 / (total / len(loader.dataset)))


class AverageMeter:
    def __init__(self):
        self.sum, self.count, self.avg = 0.0, 0, 0.0

    def update(self, value, n=1):
        self.sum += value * n
        self.count += n
        self.avg = self.sum / self.count


@torch.no_grad()
def finds_areas_that_a_meter_weighs(model, val_loader):
    areas = AverageMeter()
    for x, y in val_loader:
        areas.update(roc_auc_score(y.numpy(), model(x)[:, 1].numpy()), len(y))  # BP208
    return areas.avg


@torch.no_grad()
def finds_areas_of_batches_out_of_sight(model, val_loader):
    areas = []
    for x, y in val_loader:
        areas.append(roc_auc_score(y.numpy(), model(x)[:, 1].numpy()))
    return np.mean(areas)  # BP208


@torch.no_grad()
def finds_scores_of_batches_out_of_sight_perhaps(model, val_loader):
    scores = []
    for x, y in val_loader:
        scores.append(f1_score(y.numpy(), model(x).argmax(1).numpy()))
    return np.mean(scores)  # BP208 likely


@torch.no_grad()
def finds_r2_of_batches_out_of_sight(model, loader):
    model.eval()
    total = 0.0
    for x, y in loader:
        total += r2_score(y.numpy(), model(x).numpy())
    return total / len(loader)  # BP208


@torch.no_grad()
def passes_r2_of_all_batches(model, loader):
    model.eval()
    targets, guesses = [], []
    for x, y in loader:
        targets.extend(y.numpy())
        guesses.extend(model(x).numpy())
    return r2_score(targets, guesses)
