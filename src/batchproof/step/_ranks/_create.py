"""The ranks that a step is taken over, and the wrapper that sums their gradients."""

from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from batchproof._errors import SettingError
from batchproof.ranks import (
    Group,
    ProcessGroup,
    in_shards,
    is_initialised,
    is_sharded,
    reshard,
    unwrapped_of_compile,
    world_size,
)
from batchproof.step._ranks._agreement import describe
from batchproof.step._ranks._many import Many
from batchproof.step._ranks._replicated import Replicated
from batchproof.step._ranks._sharded import Sharded
from batchproof.step._ranks._single import Single
from batchproof.step._ranks._unwrapped import Unwrapped
from batchproof.step._ranks._wrappers import Wrapper
from batchproof.step._update import ClosureUpdate, Update

Ranks = Single | Many

_FOREIGN = ("deepspeed", "horovod", "megatron", "fairscale", "bagua")


def ranks_of(
    model: Any,
    update: Update,
    group: ProcessGroup | None,
    settings: dict[str, Any],
    *,
    counts: bool,
    has_scaler: bool,
    splits: bool,
) -> Ranks:
    """Return the ranks that take steps together.

    Args:
        model: in DistributedDataParallel, fully_shard, or bare.
        update: the optimiser's side.
        group: the process group, or None for the wrapper's, else the default one.
        settings: the values that must be the same on every rank.
        counts: whether weights are counted before the backward pass.
        has_scaler: whether there is a scaler.
        splits: whether a rank may begin its passes again.

    Raises:
        SettingError: if the wrapper is not known, or holds only a part of the model; or if passes
            may begin again and make collectives.
    """
    outer = unwrapped_of_compile(model)
    _refuse_foreign(outer, update)
    if not is_initialised():
        return Single()
    parameters = update.parameters()
    device = parameters[0].device if parameters else torch.device("cpu")
    if isinstance(outer, DistributedDataParallel):
        _expect_one(group, outer.process_group)
        wrapper: Wrapper = Replicated(Group(outer.process_group, device), outer)
    elif is_sharded(outer):
        _refuse_closure(update)
        wrapper = Sharded(Group(_shards_group(outer, group), device), outer)
    else:
        _refuse_inner(outer)
        members = Group(group, device)
        if members.size == 1:
            return Single()
        wrapper = Unwrapped(members, outer, parameters)
    lines = [f"{name} {value}" for name, value in settings.items()]
    bare = isinstance(wrapper, Unwrapped)
    lines += [f"wrapper {wrapper.name}", *describe(outer, parameters, values=bare)]
    if splits:
        _refuse_collectives(outer)
    return Many(wrapper, model, lines, update, counts=counts, has_scaler=has_scaler, splits=splits)


def _shards_group(model: Any, group: ProcessGroup | None) -> ProcessGroup | None:
    """Return the ranks over which a sharded model's gradients are reduced."""
    from torch.distributed.tensor import DTensor  # noqa: PLC0415

    reshard(model)
    meshes = {p.device_mesh for p in model.parameters() if isinstance(p, DTensor)}
    whole = [p for p in model.parameters() if p.requires_grad and not isinstance(p, DTensor)]
    if len(meshes) != 1 or whole:
        raise SettingError(
            f"the model has parameters on {len(meshes)} device meshes and {len(whole)} on none; "
            "expected all of them sharded over one data-parallel mesh. Tensor, pipeline and expert "
            "parallel models are not supported."
        )
    (mesh,) = meshes
    if mesh.ndim == 1:
        members: ProcessGroup = mesh.get_group()
        _expect_one(group, members)
        return members
    size = world_size(group)
    if mesh.size() != size:
        raise SettingError(
            f"the model's mesh has {mesh.size()} ranks and the group {size}; give Step the group "
            "of the mesh's ranks."
        )
    return group


def _expect_one(group: ProcessGroup | None, own: ProcessGroup | None) -> None:
    if group is None or own is None:
        return
    if distributed.get_process_group_ranks(group) != distributed.get_process_group_ranks(own):
        raise SettingError(
            f"group has the ranks {distributed.get_process_group_ranks(group)} but the model is "
            f"wrapped over {distributed.get_process_group_ranks(own)}; leave group out, or give "
            "that of the wrapper."
        )


def _refuse_closure(update: Update) -> None:
    if isinstance(update, ClosureUpdate):
        raise SettingError(
            f"{type(update.optimizer).__name__} takes products over all parameters at once, which "
            "fully_shard spreads over the ranks; wrap the model in DistributedDataParallel."
        )


def _refuse_collectives(model: Any) -> None:
    """Refuse a model whose passes make collectives, which a rank cannot repeat by itself."""
    if not isinstance(model, nn.Module):
        return
    modules = model.named_modules()
    normal = [f"SyncBatchNorm {n!r}" for n, m in modules if isinstance(m, nn.SyncBatchNorm)]
    spread = (
        ["parameters that are spread over ranks"] if any(map(in_shards, model.parameters())) else []
    )
    if normal or spread:
        raise SettingError(
            f"out_of_memory is 'split', but the model has {(spread or normal)[0]}: ranks meet in "
            "every pass, so one of them cannot begin its passes again. Give micro-batches that "
            "fit, which changes no gradient: smaller ones, or windows(loader, tokens=...)."
        )


def _refuse_inner(model: Any) -> None:
    if not isinstance(model, nn.Module):
        return
    for name, module in model.named_modules():
        if name and (isinstance(module, DistributedDataParallel) or is_sharded(module)):
            raise SettingError(
                f"only the part {name!r} of the model is wrapped; the rest would not be reduced. "
                "Wrap the whole model."
            )


def _refuse_foreign(model: Any, update: Update) -> None:
    optimizer = getattr(update, "optimizer", None)
    kinds = [type(part) for part in (model, optimizer)]
    foreign = [kind for kind in kinds if kind.__module__.split(".")[0] in _FOREIGN]
    if isinstance(model, DataParallel):
        foreign.append(DataParallel)
    if type(model).__name__ == "FullyShardedDataParallel":
        foreign.append(type(model))
    if type(model).__name__.endswith("ReplicateModule") or "Replicate" in type(model).__name__:
        foreign.append(type(model))
    if foreign:
        raise SettingError(
            f"{foreign[0].__name__} sums or scales gradients in a way that is not known here. Use "
            "torch.nn.parallel.DistributedDataParallel or torch.distributed.fsdp.fully_shard."
        )
