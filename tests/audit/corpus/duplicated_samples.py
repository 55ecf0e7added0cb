"""Sums over ranks that hold some samples twice, over the length of the data set."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from accelerate import Accelerator
from lightning import Fabric
from torch.utils.data import DataLoader, DistributedSampler, SequentialSampler


@torch.no_grad()
def finds_hits(model, data):
    loader = DataLoader(data, batch_size=8, sampler=DistributedSampler(data, shuffle=False))
    correct = torch.zeros(1)
    for x, y in loader:
        correct += (model(x).argmax(1) == y).sum()
    dist.all_reduce(correct)
    return correct / len(loader.dataset)  # BP211


@torch.no_grad()
def finds_a_sum_of_losses(model, data):
    loader = DataLoader(data, batch_size=8, sampler=DistributedSampler(data))
    total = torch.zeros(1)
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum")
    dist.all_reduce(total)
    return total / len(loader.dataset)  # BP211


@torch.no_grad()
def finds_means_times_sizes(model, data):
    loader = DataLoader(data, batch_size=8, sampler=DistributedSampler(data))
    total = torch.zeros(1)
    for x, y in loader:
        total += F.mse_loss(model(x), y) * x.size(0)
    dist.all_reduce(total)
    return total / len(loader.dataset)  # BP211


@torch.no_grad()
def finds_the_length_taken_before(model, data_loader):
    count = len(data_loader.dataset)
    correct = torch.zeros(1)
    for x, y in data_loader:
        correct += (model(x).argmax(1) == y).sum()
    dist.all_reduce(correct)
    return correct.item() / count  # BP211


@torch.no_grad()
def finds_a_helper(model, data_loader, reduce_value):
    correct = torch.zeros(1)
    for x, y in data_loader:
        correct += torch.eq(model(x).argmax(1), y).sum()
    correct = reduce_value(correct, average=False)
    return correct.item() / len(data_loader.dataset)  # BP211


@torch.no_grad()
def finds_an_all_gather(model, data):
    fabric = Fabric()
    loader = fabric.setup_dataloaders(DataLoader(data, batch_size=8))
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
    return fabric.all_gather(total).sum() / len(loader.dataset)  # BP211


@torch.no_grad()
def finds_a_division_in_place(model, loader):
    total = torch.zeros(1)
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum")
    dist.all_reduce(total, op=dist.ReduceOp.SUM)
    total /= len(loader.dataset)  # BP211
    return total


@torch.no_grad()
def finds_a_reduction_to_rank_0(model, loader):
    total = torch.zeros(1)
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum")
    dist.reduce(total, dst=0)
    return total / len(loader.dataset)  # BP211


@torch.no_grad()
def finds_a_count_of_all_ranks(model, data):
    loader = DataLoader(data, batch_size=8, sampler=DistributedSampler(data))
    total, seen = torch.zeros(1), torch.zeros(1)
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum")
        seen += len(x)
    dist.all_reduce(total)
    dist.all_reduce(seen)
    return total / seen  # BP211 likely


@torch.no_grad()
def passes_a_count_of_samples_none_of_which_is_repeated(model, data):
    sampler = DistributedSampler(data, drop_last=True)
    loader = DataLoader(data, batch_size=8, sampler=sampler)
    total, seen = torch.zeros(1), torch.zeros(1)
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum")
        seen += len(x)
    dist.all_reduce(total)
    dist.all_reduce(seen)
    return total / seen


@torch.no_grad()
def passes_one_process(model, data):
    loader = DataLoader(data, batch_size=8)
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
    return total / len(loader.dataset)


@torch.no_grad()
def passes_every_sample_on_every_rank(model, data):
    loader = DataLoader(data, batch_size=8, sampler=SequentialSampler(data))
    total = torch.zeros(1)
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum")
    return total / len(loader.dataset)


def passes_a_training_loop(model, data, optimizer):
    loader = DataLoader(data, batch_size=8, sampler=DistributedSampler(data))
    total = torch.zeros(1)
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y, reduction="sum")
        loss.backward()
        optimizer.step()
        total += loss.detach()
    dist.all_reduce(total)
    return total / len(loader.dataset)


@torch.no_grad()
def passes_gather_for_metrics(model, loader, accelerator):
    total = 0.0
    for x, y in loader:
        losses = accelerator.gather_for_metrics(F.mse_loss(model(x), y, reduction="none"))
        total += losses.sum().item()
    return total / len(loader.dataset)


@torch.no_grad()
def passes_a_sum_that_is_not_reduced(model, loader):
    correct = 0
    for x, y in loader:
        correct += (model(x).argmax(1) == y).sum().item()
    return correct / len(loader.dataset)


@torch.no_grad()
def passes_a_maximum(model, loader):
    worst = torch.zeros(1)
    for x, y in loader:
        worst = torch.maximum(worst, F.mse_loss(model(x), y, reduction="none").max())
    dist.all_reduce(worst, op=dist.ReduceOp.MAX)
    return worst


@torch.no_grad()
def passes_the_length_of_the_sampler(model, data):
    sampler = DistributedSampler(data)
    loader = DataLoader(data, batch_size=8, sampler=sampler)
    total, seen = 0.0, 0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
        seen += len(x)
    return total / seen, len(sampler)


@torch.no_grad()
def misses_a_metric_object(model, data, metric):
    loader = DataLoader(data, batch_size=8, sampler=DistributedSampler(data))
    for x, y in loader:
        metric.update(model(x), y)  # missed BP211
    return metric.compute()


@torch.no_grad()
def misses_predictions_gathered_whole(model, data, gather):
    loader = DataLoader(data, batch_size=8, sampler=DistributedSampler(data))
    predictions = [model(x) for x, _ in loader]
    return gather(torch.cat(predictions))  # missed BP211


@torch.no_grad()
def finds_hits_that_accelerate_gathers(model, data):
    accelerator = Accelerator()
    model, loader = accelerator.prepare(model, DataLoader(data, batch_size=8))
    model.eval()
    right, seen = 0, 0
    for x, y in loader:
        predicted, target = accelerator.gather((model(x).argmax(1), y))
        right += (predicted == target).sum().item()
        seen += target.size(0)
    return right / seen  # BP211


@torch.no_grad()
def finds_gathered_hits_over_the_data_set(model, data):
    accelerator = Accelerator()
    model, loader = accelerator.prepare(model, DataLoader(data, batch_size=8))
    model.eval()
    right = 0
    for x, y in loader:
        predicted = model(x).argmax(dim=-1)
        right += (accelerator.gather(predicted) == accelerator.gather(y)).sum().item()
    accelerator.print(right / len(loader.dataset))  # BP211


@torch.no_grad()
def finds_gathered_losses(model, data):
    accelerator = Accelerator()
    model, loader = accelerator.prepare(model, DataLoader(data, batch_size=8))
    model.eval()
    total, seen = 0.0, 0
    for x, y in loader:
        losses = accelerator.gather(F.mse_loss(model(x), y, reduction="none"))
        total += losses.sum().item()
        seen += len(losses)
    accelerator.print(total / seen)  # BP211


@torch.no_grad()
def passes_hits_gathered_for_metrics(model, data):
    accelerator = Accelerator()
    model, loader = accelerator.prepare(model, DataLoader(data, batch_size=8))
    model.eval()
    right, seen = 0, 0
    for x, y in loader:
        predicted, target = accelerator.gather_for_metrics((model(x).argmax(1), y))
        right += (predicted == target).sum().item()
        seen += target.size(0)
    accelerator.print(right / seen)


@torch.no_grad()
def passes_each_gathered_for_metrics(model, data):
    accelerator = Accelerator()
    model, loader = accelerator.prepare(model, DataLoader(data, batch_size=8))
    model.eval()
    right = 0
    for x, y in loader:
        predicted = accelerator.gather_for_metrics(model(x).argmax(1))
        right += (predicted == accelerator.gather_for_metrics(y)).long().sum()
    accelerator.print(right.item() / len(loader.dataset))


@torch.no_grad()
def passes_whole_batches_alone(model, data):
    accelerator = Accelerator()
    loader = accelerator.prepare(DataLoader(data, batch_size=8, drop_last=True))
    model.eval()
    right, seen = 0, 0
    for x, y in loader:
        predicted, target = accelerator.gather((model(x).argmax(1), y))
        right += (predicted == target).sum().item()
        seen += target.size(0)
    accelerator.print(right / seen)


@torch.no_grad()
def passes_repeats_that_are_cut_off(model, data):
    accelerator = Accelerator()
    model, loader = accelerator.prepare(model, DataLoader(data, batch_size=8))
    model.eval()
    right, seen = 0, 0
    for i, (x, y) in enumerate(loader):
        predicted, target = accelerator.gather((model(x).argmax(1), y))
        if i == len(loader) - 1:
            predicted = predicted[: len(loader.dataset) - seen]
            target = target[: len(loader.dataset) - seen]
        else:
            seen += target.shape[0]
        right += (predicted == target).sum().item()
    accelerator.print(right / len(loader.dataset))


@torch.no_grad()
def passes_losses_that_are_cut_to_the_data_set(model, data):
    accelerator = Accelerator()
    model, loader = accelerator.prepare(model, DataLoader(data, batch_size=8))
    model.eval()
    total, n = 0.0, len(loader.dataset)
    for i, (x, y) in enumerate(loader):
        losses = accelerator.gather(F.mse_loss(model(x), y, reduction="none"))
        total += losses[: n - i * 8 * accelerator.num_processes].sum().item()
    accelerator.print(total / len(loader.dataset))


def finds_labels_gathered_for_a_metric(model, train_data, data, metric, optimizer):
    accelerator = Accelerator()
    train_loader = DataLoader(train_data, batch_size=8)
    loader = DataLoader(data, batch_size=8)
    model, optimizer, train_loader, loader = accelerator.prepare(
        model, optimizer, train_loader, loader
    )
    model.eval()
    for batch in loader:
        with torch.no_grad():
            outputs = model(**batch)
        metric.add_batch(
            predictions=accelerator.gather(outputs.logits.argmax(dim=-1)),  # BP211
            references=accelerator.gather(batch["labels"]),
        )
    accelerator.print(metric.compute())


@torch.no_grad()
def finds_what_a_model_generates(model, loader, tokenizer, metric):
    accelerator = Accelerator()
    model, loader = accelerator.prepare(model, loader)
    model.eval()
    for batch in loader:
        tokens = accelerator.unwrap_model(model).generate(batch["input_ids"], max_length=64)
        tokens = accelerator.pad_across_processes(tokens, dim=1)
        texts = tokenizer.batch_decode(accelerator.gather(tokens).cpu())  # BP211
        metric.add_batch(predictions=texts, references=batch["texts"])
    accelerator.print(metric.compute())


@torch.no_grad()
def finds_losses_repeated_for_each_sample(model, loader):
    accelerator = Accelerator()
    model, loader = accelerator.prepare(model, loader)
    model.eval()
    losses = []
    for batch in loader:
        loss = model(**batch).loss
        losses.append(accelerator.gather(loss.repeat(8)))  # BP211
    return torch.cat(losses)


@torch.no_grad()
def passes_losses_cut_behind_the_loop(model, loader, data):
    accelerator = Accelerator()
    model, loader = accelerator.prepare(model, loader)
    model.eval()
    losses = []
    for batch in loader:
        loss = model(**batch).loss
        losses.append(accelerator.gather(loss.repeat(8)))
    return torch.cat(losses)[: len(data)]


@torch.no_grad()
def passes_outputs_of_a_loader_that_is_not_prepared(model, data, metric):
    accelerator = Accelerator()
    model = accelerator.prepare(model)
    model.eval()
    for x, y in DataLoader(data, batch_size=8):
        metric.add_batch(predictions=accelerator.gather(model(x).argmax(1)), references=y)
    return metric.compute()


def passes_losses_gathered_while_training(model, loader, optimizer, writer):
    accelerator = Accelerator()
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    for step, (x, y) in enumerate(loader):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        accelerator.backward(loss)
        optimizer.step()
        writer.add_scalar("loss", accelerator.gather(loss.repeat(8)).mean(), step)


@torch.no_grad()
def passes_outputs_kept_by_their_place(model, val_data):
    sampler = DistributedSampler(val_data, shuffle=False)
    loader = DataLoader(val_data, batch_size=8, sampler=sampler)
    outputs = torch.zeros(len(val_data), 4)
    for _, (x, index) in enumerate(loader):
        outputs[index] = model(x)
    return outputs
