"""Numbers of one rank reported as those of all."""

import horovod.torch as hvd
import torch
import torch.distributed as dist
import torch.nn.functional as F
from accelerate import Accelerator
from lightning import Fabric, LightningModule
from lightning.pytorch.utilities import rank_zero_only
from sklearn.metrics import classification_report, f1_score
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, SequentialSampler
from torch.utils.tensorboard import SummaryWriter


@torch.no_grad()
def finds_a_printed_mean(model, val_data):
    loader = DataLoader(val_data, batch_size=8, sampler=DistributedSampler(val_data))
    total, seen = 0.0, 0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
        seen += len(x)
    print("validation loss", total / seen)  # BP212


@torch.no_grad()
def finds_a_logged_accuracy(model, val_data, writer):
    sampler = DistributedSampler(val_data, shuffle=False)
    loader = DataLoader(val_data, batch_size=8, sampler=sampler)
    correct, seen = 0, 0
    for x, y in loader:
        correct += (model(x).argmax(1) == y).sum().item()
        seen += len(y)
    writer.add_scalar("val/accuracy", correct / seen)  # BP212


@torch.no_grad()
def finds_the_best_of_one_rank(model, val_data):
    loader = DataLoader(val_data, batch_size=8, sampler=DistributedSampler(val_data))
    best_loss = 1e9
    for _ in range(10):
        total, seen = 0.0, 0
        for x, y in loader:
            total += F.mse_loss(model(x), y, reduction="sum").item()
            seen += len(x)
        val_loss = total / seen
        if val_loss < best_loss:  # BP212
            best_loss = val_loss
            torch.save(model.state_dict(), "best.pt")


@torch.no_grad()
def finds_a_prepared_loader(model, val_data):
    accelerator = Accelerator()
    loader = accelerator.prepare(DataLoader(val_data, batch_size=8))
    total, seen = 0.0, 0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
        seen += len(x)
    accelerator.print(total / seen)  # BP212


@torch.no_grad()
def finds_a_loader_of_fabric(model, val_data):
    fabric = Fabric()
    loader = fabric.setup_dataloaders(DataLoader(val_data, batch_size=8))
    total, seen = 0.0, 0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
        seen += len(x)
    fabric.print(f"loss {total / seen:.3f}")  # BP212


@torch.no_grad()
def _loss(model, loader):
    total, seen = 0.0, 0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
        seen += len(x)
    return total / seen


def finds_a_loss_of_a_function(model, val_data, logger):
    loader = DataLoader(val_data, batch_size=8, sampler=DistributedSampler(val_data))
    value = _loss(model, loader)
    logger.info("loss %s", value)  # BP212


@torch.no_grad()
def finds_a_sum(model, val_data):
    loader = DataLoader(val_data, batch_size=8, sampler=DistributedSampler(val_data))
    correct = 0
    for x, y in loader:
        correct += (model(x).argmax(1) == y).sum().item()
    print("correct", correct)  # BP212


def finds_rank_0_alone(model, val_data, rank):
    loader = DataLoader(val_data, batch_size=8, sampler=DistributedSampler(val_data))
    value = _loss(model, loader)
    if rank == 0:
        print(value)  # BP212


@torch.no_grad()
def passes_sums_of_all_ranks(model, val_data):
    loader = DataLoader(val_data, batch_size=8, sampler=DistributedSampler(val_data))
    sums = torch.zeros(2)
    for x, y in loader:
        sums[0] += F.mse_loss(model(x), y, reduction="sum")
        sums[1] += len(x)
    dist.all_reduce(sums)
    print(sums[0] / sums[1])


@torch.no_grad()
def passes_a_reduction_of_each(model, val_data):
    loader = DataLoader(val_data, batch_size=8, sampler=DistributedSampler(val_data))
    total, seen = torch.zeros(1), torch.zeros(1)
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum")
        seen += len(x)
    dist.all_reduce(total)
    dist.all_reduce(seen)
    print(total / seen)  # BP211 likely


@torch.no_grad()
def passes_one_process(model, val_data):
    loader = DataLoader(val_data, batch_size=8)
    total, seen = 0.0, 0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
        seen += len(x)
    print(total / seen)


@torch.no_grad()
def passes_a_gathered_loss(model, val_data):
    accelerator = Accelerator()
    loader = accelerator.prepare(DataLoader(val_data, batch_size=8))
    total, seen = 0.0, 0
    for x, y in loader:
        losses = accelerator.gather_for_metrics(F.mse_loss(model(x), y, reduction="none"))
        total += losses.sum().item()
        seen += len(losses)
    accelerator.print(total / seen)


def passes_a_training_loss_of_a_step(model, data, optimizer):
    loader = DataLoader(data, batch_size=8, sampler=DistributedSampler(data))
    for i, (x, y) in enumerate(loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        if i % 100 == 0:
            print(loss.item())


@torch.no_grad()
def passes_a_helper(model, val_data, reduce_tensor):
    loader = DataLoader(val_data, batch_size=8, sampler=DistributedSampler(val_data))
    total, seen = torch.zeros(1), torch.zeros(1)
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum")
        seen += len(x)
    total, seen = reduce_tensor(total), reduce_tensor(seen)
    print(total / seen)


@torch.no_grad()
def passes_a_loader_out_of_sight(model, val_loader):
    total, seen = 0.0, 0
    for x, y in val_loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
        seen += len(x)
    print(total / seen)


@torch.no_grad()
def passes_a_value_that_is_returned(model, val_data):
    loader = DataLoader(val_data, batch_size=8, sampler=DistributedSampler(val_data))
    total, seen = 0.0, 0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
        seen += len(x)
    return total, seen


@torch.no_grad()
def misses_a_sampler_of_its_own(model, val_data, rank_sampler):
    loader = DataLoader(val_data, batch_size=8, sampler=rank_sampler)
    total, seen = 0.0, 0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
        seen += len(x)
    print(total / seen)  # missed BP212


@torch.no_grad()
def misses_a_share_by_index(model, val_data, rank, world_size):
    total, seen = 0.0, 0
    for i in range(rank, len(val_data), world_size):
        x, y = val_data[i]
        total += F.mse_loss(model(x), y).item()
        seen += 1
    print(total / seen)  # missed BP212


def passes_a_number_that_names_its_rank(model, data, rank):
    loader = DataLoader(data, batch_size=64, sampler=DistributedSampler(data))
    right, count = 0, 0
    with torch.no_grad():
        for x, y in loader:
            right += (model(x).argmax(1) == y).sum().item()
            count += len(y)
    print(f"[rank {rank}] accuracy", right / count)


class AverageMeter:
    def __init__(self):
        self.total, self.count, self.avg = 0.0, 0, 0.0

    def update(self, value, n=1):
        self.total += value * n
        self.count += n
        self.avg = self.total / self.count


class PooledAverageMeter(AverageMeter):
    def update(self, value, n=1):
        pair = torch.tensor([value * n, float(n)])
        dist.all_reduce(pair)
        super().update(pair[0].item() / pair[1].item(), int(pair[1]))


@torch.no_grad()
def finds_a_meter(model, val_data):
    loader = DataLoader(val_data, batch_size=8, sampler=DistributedSampler(val_data))
    losses = AverageMeter()
    for x, y in loader:
        losses.update(F.mse_loss(model(x), y).item(), x.size(0))
    print(losses.avg)  # BP212


@torch.no_grad()
def _mean_of_a_meter(model, val_data):
    loader = DataLoader(val_data, batch_size=8, sampler=DistributedSampler(val_data))
    losses = AverageMeter()
    for x, y in loader:
        losses.update(F.mse_loss(model(x), y).item(), x.size(0))
    return losses.avg


def finds_a_meter_by_which_the_best_is_chosen(model, val_data, save):
    best = float("inf")
    for _ in range(3):
        loss = _mean_of_a_meter(model, val_data)
        if loss < best:  # BP212
            best = loss
            save(model)


@torch.no_grad()
def passes_a_meter_of_reduced_losses(model, val_data):
    loader = DataLoader(val_data, batch_size=8, sampler=DistributedSampler(val_data))
    losses = AverageMeter()
    for x, y in loader:
        loss = F.mse_loss(model(x), y)
        dist.all_reduce(loss)
        losses.update(loss.item() / dist.get_world_size(), x.size(0))
    print(losses.avg)


@torch.no_grad()
def passes_a_meter_that_is_reduced(model, val_data, rank_meter):
    loader = DataLoader(val_data, batch_size=8, sampler=DistributedSampler(val_data))
    losses = AverageMeter()
    for x, y in loader:
        losses.update(F.mse_loss(model(x), y).item(), x.size(0))
    losses.synchronize_between_processes()
    print(losses.avg)


@torch.no_grad()
def passes_a_meter_that_reduces_itself(model, val_data):
    loader = DataLoader(val_data, batch_size=8, sampler=DistributedSampler(val_data))
    losses = PooledAverageMeter()
    for x, y in loader:
        losses.update(F.mse_loss(model(x), y).item(), x.size(0))
    print(losses.avg)


@torch.no_grad()
def passes_a_meter_shown_in_its_loop(model, val_data):
    loader = DataLoader(val_data, batch_size=8, sampler=DistributedSampler(val_data))
    losses = AverageMeter()
    for x, y in loader:
        losses.update(F.mse_loss(model(x), y).item(), x.size(0))
        print(losses.avg)


@torch.no_grad()
def finds_a_fabric_of_two_devices(model, val_data):
    fabric = Fabric(accelerator="cpu", devices=2)
    loader = fabric.setup_dataloaders(DataLoader(val_data, batch_size=8))
    total, seen = 0.0, 0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
        seen += len(x)
    fabric.print(total / seen)  # BP212


@torch.no_grad()
def passes_a_fabric_of_one_process(model, val_data):
    for fabric in (Fabric(accelerator="cpu"), Fabric("cuda", devices=1)):
        loader = fabric.setup_dataloaders(DataLoader(val_data, batch_size=8))
        total, seen = 0.0, 0
        for x, y in loader:
            total += F.mse_loss(model(x), y, reduction="sum").item()
            seen += len(x)
        fabric.print(total / seen)


class ScoresOfRank0(LightningModule):
    def __init__(self, net):
        super().__init__()
        self.net, self.outputs, self.targets = net, [], []

    def test_step(self, batch, index):
        x, y = batch
        self.outputs.append(self.net(x).argmax(1))
        self.targets.append(y)

    def on_test_epoch_end(self):
        if not self.trainer.is_global_zero:
            return
        outputs, targets = torch.cat(self.outputs).cpu(), torch.cat(self.targets).cpu()
        print(classification_report(targets, outputs))  # BP212
        self.logger.log(f1_score(targets, outputs))


class ScoresOfAllRanks(ScoresOfRank0):
    def on_test_epoch_end(self):
        outputs = self.all_gather(torch.cat(self.outputs)).flatten()
        targets = self.all_gather(torch.cat(self.targets)).flatten()
        if self.trainer.is_global_zero:
            print(classification_report(targets.cpu(), outputs.cpu()))


class ScoresOfEachRank(ScoresOfRank0):
    def on_test_epoch_end(self):
        outputs, targets = torch.cat(self.outputs).cpu(), torch.cat(self.targets).cpu()
        print(classification_report(targets, outputs))


@torch.no_grad()
def finds_hits_beside_a_loss_that_is_reduced(model, val_data, rank):
    loader = DataLoader(val_data, batch_size=8, sampler=DistributedSampler(val_data))
    losses, right, seen = 0.0, 0, 0
    for x, y in loader:
        scores = model(x)
        loss = F.cross_entropy(scores, y, reduction="sum")
        dist.all_reduce(loss)
        losses += loss.item()
        right += (scores.argmax(1) == y).sum().item()
        seen += len(y)
    if rank == 0:
        print(losses, right / seen)  # BP212


@torch.no_grad()
def passes_hits_that_are_reduced(model, val_data, rank):
    sampler = DistributedSampler(val_data, drop_last=True)
    loader = DataLoader(val_data, batch_size=8, sampler=sampler)
    right, seen = torch.zeros(1), torch.zeros(1)
    for x, y in loader:
        right += (model(x).argmax(1) == y).sum()
        seen += len(y)
    dist.all_reduce(right)
    dist.all_reduce(seen)
    if rank == 0:
        print((right / seen).item())


def finds_the_training_loss_of_rank_0(model, data, optimizer):
    loader = DataLoader(data, batch_size=8, sampler=DistributedSampler(data), drop_last=True)
    verbose = dist.get_rank() == 0
    for _ in range(10):
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item()
        if verbose:
            print(total / len(loader))  # BP212


def finds_the_training_loss_of_the_main_process(model, data, optimizer):
    accelerator = Accelerator()
    verbose = accelerator.is_main_process
    model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(data, 8))
    for _ in range(10):
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y, reduction="sum")
            accelerator.backward(loss)
            optimizer.step()
            total += loss.item()
        if verbose:
            print(total)  # BP212


def _scores(model, data, *, distributed):
    sampler = DistributedSampler(data) if distributed else SequentialSampler(data)
    loader = DataLoader(data, batch_size=8, sampler=sampler)
    total, seen = 0.0, 0
    with torch.no_grad():
        for x, y in loader:
            total += F.mse_loss(model(x), y, reduction="sum").item()
            seen += len(x)
    return {"loss": total / seen, "count": seen}


def finds_a_share_where_there_are_several_processes(model, data, args, logger):
    scores = _scores(model, data, distributed=args.distributed)
    if args.local_rank in {-1, 0}:
        text = ", ".join(f"{key}: {scores[key]}" for key in ("loss",))
        print(text, scores["loss"])  # BP212


def passes_a_test_for_one_process(model, data, args, logger):
    scores = _scores(model, data, distributed=args.distributed)
    if args.local_rank == -1:
        print(scores["loss"])


def finds_the_training_loss_of_the_first_rank(model, train_loader, optimizer, writer, epoch):
    total = 0.0
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(y)
    if dist.get_rank() == 0:
        writer.add_scalar("loss", total / len(train_loader.dataset), epoch)  # BP212


def passes_an_evaluation_of_all_samples_on_every_rank(model, val_loader):
    total = 0.0
    with torch.no_grad():
        for x, y in val_loader:
            total += F.cross_entropy(model(x), y).item() * len(y)
    if dist.get_rank() == 0:
        print(total / len(val_loader.dataset))


def _averaged(value):
    return hvd.allreduce(torch.tensor(value)).item()


@torch.no_grad()
def finds_a_reduction_whose_result_is_dropped(model, data):
    loader = DataLoader(data, batch_size=8, sampler=DistributedSampler(data))
    total, seen = 0.0, 0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
        seen += len(x)
    total /= seen
    _averaged(total)
    if hvd.rank() == 0:
        print(total)  # BP212


@torch.no_grad()
def passes_a_reduction_whose_result_is_shown(model, data):
    loader = DataLoader(data, batch_size=8, sampler=DistributedSampler(data))
    total, seen = 0.0, 0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()
        seen += len(x)
    total = _averaged(total / seen)
    if hvd.rank() == 0:
        print(total)


@torch.no_grad()
def _of_all_ranks(model, loader):
    total, seen = torch.zeros(1), 0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum")
        seen += len(x)
    sums = torch.tensor([total.item(), seen])
    dist.all_reduce(sums)
    return (sums[0] / sums[1]).item()


def finds_a_training_loss_beside_sums_that_are_reduced(model, train_loader, optimizer, val_loader):
    total = 0.0
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(x)
    value = _of_all_ranks(model, val_loader)
    if dist.get_rank() == 0:
        print(total / len(train_loader.dataset))  # BP212
        print(value)


class HoldsItsRank:
    def __init__(self):
        self.speaks = dist.get_rank() == 0

    def finds_a_name_that_holds_the_rank(self, model, train_loader, optimizer):
        total = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
        if self.speaks:
            print(total / len(train_loader.dataset))  # BP212


def finds_what_other_ranks_do_not_reach(model, train_loader, optimizer):
    total = 0.0
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(x)
    if dist.get_rank() > 0:
        return
    print(total / len(train_loader.dataset))  # BP212


def finds_a_curve_of_the_first_rank(model, train_loader, optimizer, writer, progress):
    total, logged = 0.0, 0.0
    for step, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item()
        if dist.get_rank() == 0 and (step + 1) % 50 == 0:
            writer.add_scalar("loss", (total - logged) / 50, step)  # BP212
            print((total - logged) / 50)  # BP212 likely
            progress.set_postfix(loss=(total - logged) / 50)
            logged = total


def passes_a_curve_of_the_loss_of_each_rank(model, train_loader, optimizer, writer):
    total = 0.0
    for step, (x, y) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item()
        if (step + 1) % 50 == 0:
            writer.add_scalar("loss", total / 50, step)
            total = 0.0


def _of_each_rank(outputs, targets):
    return hvd.allgather(outputs), hvd.allgather(targets)


def _dropped(loss):
    value = loss.clone()
    hvd.allreduce(value)
    return value


@torch.no_grad()
def finds_a_loss_beside_hits_of_outputs_that_are_gathered(model, data):
    loader = DataLoader(data, batch_size=8, sampler=DistributedSampler(data, drop_last=True))
    total, right, seen = 0.0, 0, 0
    for x, y in loader:
        scores = model(x)
        total += _dropped(F.cross_entropy(scores, y, reduction="sum"))
        outputs, targets = _of_each_rank(scores, y)
        right += (outputs.argmax(1) == targets).sum()
        seen += len(targets)
    if hvd.rank() == 0:
        print(right / seen)
        print(total)  # BP212


@torch.no_grad()
def finds_a_table_of_results(model, data, logger):
    loader = DataLoader(data, batch_size=8, sampler=DistributedSampler(data))
    result = {}
    result["loss"] = _loss(model, loader)
    for key in sorted(result.keys()):
        logger.info("  %s = %s", key, str(result[key]))  # BP212


def finds_a_curve_of_batches_of_the_first_rank(model, data, optimizer, writer):
    loader = DataLoader(data, batch_size=8, sampler=DistributedSampler(data))
    for step, (x, y) in enumerate(loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        if dist.get_rank() == 0:
            writer.add_scalar("loss", loss.item(), step)  # BP212
            print("step", step, loss.item())


def passes_a_curve_of_batches_of_all_ranks(model, data, optimizer, writer):
    loader = DataLoader(data, batch_size=8, sampler=DistributedSampler(data))
    for step, (x, y) in enumerate(loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        mean = loss.detach()
        dist.all_reduce(mean, op=dist.ReduceOp.AVG)
        if dist.get_rank() == 0:
            writer.add_scalar("loss", mean.item(), step)


def passes_a_curve_of_the_learning_rate(model, data, optimizer, scheduler, writer):
    loader = DataLoader(data, batch_size=8, sampler=DistributedSampler(data))
    for step, (x, y) in enumerate(loader):
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
        if dist.get_rank() == 0:
            writer.add_scalar("rate", scheduler.get_last_lr()[0], step)


def _on_each_gpu(rank, data, epochs):
    model = DistributedDataParallel(torch.nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    writer = SummaryWriter()
    loader = DataLoader(data, batch_size=8, sampler=DistributedSampler(data))
    for step, (x, y) in enumerate(loader):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        if rank == 0:
            writer.add_scalar("loss", loss.item(), step)  # BP212


def finds_what_processes_do_that_are_started_here(data, epochs):
    if torch.cuda.device_count() > 1:
        torch.multiprocessing.spawn(_on_each_gpu, nprocs=8, args=(data, epochs))
    else:
        _on_each_gpu(0, data, epochs)


def finds_what_a_function_prints_for_the_first_rank(model, data, optimizer, args):
    loader = DataLoader(data, batch_size=8, sampler=DistributedSampler(data, drop_last=True))
    total, seen = 0.0, 0
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(x)
        seen += len(x)
    print_rank_0(f"loss {total / seen}", args.global_rank)  # BP212


def passes_what_is_reduced_before_the_first_rank_prints_it(model, data, optimizer, args):
    loader = DataLoader(data, batch_size=8, sampler=DistributedSampler(data, drop_last=True))
    totals = torch.zeros(2)
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        totals[0] += loss.detach() * len(x)
        totals[1] += len(x)
    dist.all_reduce(totals)
    print_rank_0(f"loss {totals[0] / totals[1]}", args.global_rank)


def _train_step(model, x, y, optimizer):
    optimizer.zero_grad()
    loss = F.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
    return loss


def finds_a_curve_of_the_first_gpu(model, loader, optimizer, writer, gpu):
    model = DistributedDataParallel(model, device_ids=[gpu])
    for step, (x, y) in enumerate(loader):
        loss = _train_step(model, x, y, optimizer)
        if gpu == 0:
            writer.add_scalar("loss", loss.item(), step)  # BP212


def passes_a_test_on_the_number_of_gpus(model, loader, optimizer, writer, n_gpu):
    if n_gpu > 0:
        model = DistributedDataParallel(model)
    for step, (x, y) in enumerate(loader):
        loss = _train_step(model, x, y, optimizer)
        if n_gpu == 0:
            writer.add_scalar("loss", loss.item(), step)


def finds_a_writer_that_the_first_rank_has(model, loader, optimizer, rank):
    model, board = DistributedDataParallel(model), None
    if rank == 0:
        board = SummaryWriter("runs")
    for step, (x, y) in enumerate(loader):
        loss = _train_step(model, x, y, optimizer)
        if board:
            board.add_scalar("loss", loss.item(), step)  # BP212


def finds_a_tracker_of_accelerate(model, loader, optimizer):
    accelerator = Accelerator(log_with="wandb")
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    for step, (x, y) in enumerate(loader):
        loss = F.mse_loss(model(x), y)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        accelerator.log({"loss": loss.item()}, step=step)  # BP212


def passes_a_tracker_that_is_given_what_was_gathered(model, loader, optimizer):
    accelerator = Accelerator(log_with="wandb")
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    for step, (x, y) in enumerate(loader):
        loss = F.mse_loss(model(x), y)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        mean = accelerator.gather(loss.detach()).mean()
        accelerator.log({"loss": mean.item()}, step=step)


def finds_a_running_mean_of_a_meter(model, loader, optimizer, rank, writer, AverageMeter):
    model, losses = DistributedDataParallel(model), AverageMeter()
    for step, (x, y) in enumerate(loader):
        losses.update(_train_step(model, x, y, optimizer).item() / 2, len(x))
        if rank == 0 and step % 10 == 0:
            writer.add_scalar("loss", losses.avg, step)  # BP212
    if rank == 0:
        print("epoch", losses.avg)  # BP212


def finds_a_curve_of_batches_drawn_by_number(model, loader, optimizer, rank, writer, steps):
    model, batches = DistributedDataParallel(model), iter(loader)
    for step in range(steps):
        x, y = next(batches)
        loss = _train_step(model, x, y, optimizer)
        if rank == 0:
            writer.add_scalar("loss", loss.item(), step)  # BP212


class _OfOneProcess:
    def __init__(self, model, loader, optimizer, writer):
        self.model = DistributedDataParallel(model)
        self.loader, self.optimizer, self.writer = loader, optimizer, writer
        self.is_master = True

    def finds_a_switch_that_begins_with_true(self):
        for step, (x, y) in enumerate(self.loader):
            self.optimizer.zero_grad()
            loss = F.mse_loss(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            if self.is_master:
                self.writer.add_scalar("loss", loss.item(), step)  # BP212


def finds_the_last_loss_of_a_meter(model, batches, optimizer, rank, writer, AverageMeter):
    model, losses = DistributedDataParallel(model), AverageMeter()
    x, y = batches.next()
    while x is not None:
        loss = _train_step(model, x, y, optimizer)
        losses.update(loss.item(), len(x))
        if rank == 0:
            writer.add_scalar("loss", losses.val)  # BP212
        x, y = batches.next()


@rank_zero_only
def _write(writer, value, step):
    writer.add_scalar("loss", value, step)  # BP212


def finds_a_function_for_the_first_rank_alone(model, loader, optimizer, writer):
    model = DistributedDataParallel(model)
    for step, (x, y) in enumerate(loader):
        _write(writer, _train_step(model, x, y, optimizer).item(), step)


@rank_zero_only
def _write_what_was_reduced(writer, value, step):
    writer.add_scalar("loss", value, step)


def passes_a_function_that_is_given_what_was_reduced(model, loader, optimizer, writer):
    model = DistributedDataParallel(model)
    for step, (x, y) in enumerate(loader):
        loss = _train_step(model, x, y, optimizer).detach()
        dist.all_reduce(loss)
        _write_what_was_reduced(writer, loss.item() / dist.get_world_size(), step)
