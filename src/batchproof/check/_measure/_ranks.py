"""Runs over several processes that speak through gloo on this machine.

The processes are started once for a number of ranks and serve one run after another. Whatever
happens, they are ended: when the check ends, when one of them fails, and when one gives no answer
in time. Inside of `kept_ranks` those of a check that went well serve the next check too, until the
block ends: starting them takes seconds, most of them torch's imports.

The user's line on which a hung rank is stuck is found by Python's faulthandler, which writes the
stack to a file when a signal comes, also where a process waits in a collective and runs no Python.
"""

import faulthandler
import multiprocessing
import os
import pickle
import re
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from batchproof._errors import ProbeError
from batchproof.check._measure._cuts import Cut, MicroBatch
from batchproof.check._measure._run import Observation, RunOptions, Subject, one_line, run_once

_START = 300.0
_LOST = ("gloo", "Connection reset", "Connection closed")
_SIGNAL = getattr(signal, "SIGUSR1", None)
_FRAME = re.compile(r'^  File "(?P<file>.+)", line (?P<line>\d+) in (?P<name>.+)$', re.MULTILINE)
_NOT_THE_USERS = (
    "<",
    "site-packages",
    str(Path(os.__file__).parent),
    str(Path(__file__).parents[2]),
)
_OUT_OF_MEMORY = ("OutOfMemoryError", "MemoryError", "allocate memory")


@dataclass
class _Processes:
    """Processes of one number of ranks, ready to serve; hidden: they never saw the main script."""

    world: int
    processes: list[BaseProcess]
    pipes: list[Connection]
    hidden: bool


# one list for every block of kept_ranks that is open: what is waiting for the next check
_KEPT: list[list[_Processes]] = []


@contextmanager
def kept_ranks() -> Iterator[None]:
    """Let checks inside the block use the same processes one after another."""
    _KEPT.append([])
    try:
        yield
    finally:
        for pool in _KEPT.pop():
            _end(pool.processes, pool.pipes)


def _taken(world: int, *, hidden: bool) -> _Processes | None:
    """Take processes that wait, if there are some of this number that know what they need to."""
    for pool in [*_KEPT[-1]] if _KEPT else []:
        if pool.world == world and pool.hidden == hidden:
            _KEPT[-1].remove(pool)
            return pool
    return None


def _end(processes: Sequence[BaseProcess], pipes: Sequence[Connection]) -> None:
    for pipe in pipes:
        pipe.close()
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
        forget(process.pid)


class Ranks:
    """Takes results over processes; `close` leaves none behind.

    Args:
        subject: the user's parts.
        timeout: seconds that one result may take.
        own_shards: give every rank all micro-batches, because run shares them out itself.
    """

    def __init__(self, subject: Subject, *, timeout: float, own_shards: bool = False) -> None:
        self.subject, self.timeout, self.own_shards = subject, timeout, own_shards
        self.world = 0
        self.processes: list[BaseProcess] = []
        self.pipes: list[Connection] = []
        self.quickest = _START
        self.ready = False
        self.hidden = True
        self.busy = False

    def close(self) -> None:
        """End every process, unless they are kept for the next check."""
        if _KEPT and self.ready and not self.busy:
            _KEPT[-1].append(_Processes(self.world, self.processes, self.pipes, hidden=self.hidden))
        else:
            _end(self.processes, self.pipes)
        self.world, self.processes, self.pipes = 0, [], []
        self.ready = self.busy = False

    def _end(self) -> None:
        self.busy = True
        self.close()

    def observe(self, cut: Cut, options: RunOptions) -> Observation:
        """Return the result of the step with its micro-batches on several ranks.

        Args:
            cut: the cut.
            options: how the result is taken.

        Raises:
            ProbeError: if a rank fails, dies or gives no answer in time; it is named.
        """
        world = len(cut.ranks)
        self.start(world)
        if not self.ready:
            self._answers(max(_START, self.timeout))
            self.ready = True
        shares = [cut.pieces] * world if self.own_shards else cut.ranks
        # a rank without data can leave the others waiting for ever, so it is given less time
        empty = not self.own_shards and any(not share for share in shares)
        limit = min(self.timeout, max(4.0, 4 * self.quickest)) if empty else self.timeout
        self.busy = True
        for pipe, share in zip(self.pipes, shares, strict=True):
            pipe.send(("result", (share, options, empty)))
        began = time.monotonic()
        results = self._answers(limit)
        self.quickest = min(self.quickest, time.monotonic() - began)
        self.busy = False
        return _merged(results)

    def start(self, world: int) -> None:
        """Start so many processes, unless they run already; the first result waits for them.

        Args:
            world: number of ranks.

        Raises:
            ProbeError: if the probe cannot be sent to other processes.
        """
        if world == self.world:
            return
        self.close()
        try:
            payload = pickle.dumps(self.subject)
        except Exception as error:
            raise ProbeError(
                f"the probe cannot be sent to other processes: {one_line(error)}. Define run, "
                "build and collate at the top level of a module that can be imported."
            ) from error
        self.hidden = b"__main__" not in payload
        waiting = _taken(world, hidden=self.hidden)
        if waiting is not None:
            self.world, self.processes, self.pipes = world, waiting.processes, waiting.pipes
            for pipe in self.pipes:
                pipe.send(("subject", (payload, list(sys.path))))
            return
        context = multiprocessing.get_context("spawn")
        self.world = world
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with _main_hidden(unless=not self.hidden):
            for rank in range(world):
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=_serve, args=(rank, world, port, theirs, payload), daemon=True
                )
                process.start()
                theirs.close()
                self.pipes.append(ours)
                self.processes.append(process)

    def _answers(self, limit: float) -> list[Any]:
        deadline = time.monotonic() + limit
        answers: dict[int, Any] = {}
        while len(answers) < self.world:
            waiting = {self.pipes[r]: r for r in range(self.world) if r not in answers}
            ready = wait(list(waiting), timeout=max(0.0, deadline - time.monotonic()))
            if not ready:
                self._hung(sorted(waiting.values()), limit)
            for pipe in ready:
                assert isinstance(pipe, Connection)
                rank = waiting[pipe]
                answers[rank] = self._answer(rank, pipe)
        return [answers[rank] for rank in range(self.world)]

    def _answer(self, rank: int, pipe: Connection) -> Any:
        kind, value = self._heard(rank, pipe)
        if kind != "failed":
            return value
        if any(sign in value for sign in _LOST):
            rank, value = self._behind(rank, value)
        world = self.world
        self._end()
        raise ProbeError(f"rank {rank} of {world} {value}.")

    def _heard(self, rank: int, pipe: Connection) -> tuple[str, Any]:
        try:
            kind, value = pipe.recv()
        except EOFError:
            self.processes[rank].join(5)
            return "failed", (
                f"died with exit code {self.processes[rank].exitcode}: out of memory, or a script "
                'that starts the check outside of if __name__ == "__main__"'
            )
        if kind != "failed":
            return kind, value
        if any(sign in value for sign in _OUT_OF_MEMORY):
            value = "out of memory; give fewer or shorter samples, or fewer ranks"
        return kind, f"failed: {value}"

    def _behind(self, rank: int, value: str) -> tuple[int, str]:
        """Return the rank that failed first, where others failed because they lost it."""
        time.sleep(0.5)
        for other, pipe in enumerate(self.pipes):
            if other != rank and pipe.poll():
                kind, its = self._heard(other, pipe)
                if kind == "failed" and not any(sign in its for sign in _LOST):
                    return other, its
        return rank, value

    def _hung(self, silent: list[int], limit: float) -> None:
        world = self.world
        lines = {rank: stuck_line(self.processes[rank].pid) for rank in silent}
        self._end()
        who = ("rank " if len(silent) == 1 else "ranks ") + " and ".join(map(str, silent))
        where = "".join(f", rank {rank} at {place}" for rank, place in lines.items() if place)
        ready = sorted(set(range(world)) - set(silent))
        rest = f" while rank {', '.join(map(str, ready))} was done" if ready else ""
        raise ProbeError(
            f"{who} of {world} gave no answer within {limit:.0f} s{rest}{where}; a collective "
            "that not every rank takes part in waits for ever. Raise timeout= if it is only slow."
        )


@contextmanager
def _main_hidden(*, unless: bool) -> Iterator[None]:
    """Keep new processes from running the main script again, unless the probe lives in it."""
    if unless:
        yield
        return
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _merged(results: list[dict[str, Any]]) -> Observation:
    """Return the result of rank 0, with every rank's loss."""
    first = results[0]
    return Observation(
        {name: torch.from_numpy(value) for name, value in first["gradients"].items()},
        {name: torch.from_numpy(value) for name, value in first["change"].items()},
        first["loss"],
        max(result["steps"] for result in results),
        tuple(first["clips"]),
        tuple(first["start"]),
        tuple(first["clamps"]),
        tuple(result["loss"] for result in results),
    )


def _serve(rank: int, world: int, port: int, pipe: Connection, payload: bytes) -> None:
    """Serve results on one rank until the pipe closes."""
    answer_here()
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world),
        LOCAL_WORLD_SIZE=str(world),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        OMP_NUM_THREADS="1",
    )
    torch.set_num_threads(1)
    try:
        subject: Subject = pickle.loads(payload)
        torch.optim.SGD([torch.zeros(1)], lr=1.0)  # the first optimiser imports for seconds
        torch.distributed.init_process_group("gloo", rank=rank, world_size=world)
        pipe.send(("ready", None))
        while True:
            kind, message = pipe.recv()
            if kind == "subject":
                payload, sys.path[:] = message
                subject = pickle.loads(payload)
                pipe.send(("ready", None))
                continue
            share, options, quiet = message
            if quiet:  # gloo writes to the terminal when collectives do not match
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            pipe.send(("result", _serve_one(subject, share, options)))
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        return
    except BaseException as error:
        pipe.send(("failed", one_line(error)))
    finally:
        forget(os.getpid())


def _serve_one(
    subject: Subject, share: tuple[MicroBatch, ...], options: RunOptions
) -> dict[str, Any]:
    def wrap(model: nn.Module, optimizer: Any) -> tuple[nn.Module, Any]:
        return wrapped(subject.wrap, model, optimizer)

    result = run_once(subject, share, options, wrap=wrap if subject.wrap is not None else None)
    return {
        "gradients": {name: value.cpu().numpy() for name, value in result.gradients.items()},
        "change": {name: value.cpu().numpy() for name, value in result.change.items()},
        "loss": result.loss,
        "steps": result.steps,
        "clips": result.clips,
        "start": result.start,
        "clamps": result.clamps,
    }


def wrapped(
    how: str | Callable[[nn.Module], nn.Module] | None, model: nn.Module, optimizer: Any
) -> tuple[nn.Module, Any]:
    """Wrap a model over ranks, and let its optimiser follow where parameters are replaced.

    Args:
        how: "ddp", "fsdp2", a callable, or None.
        model: the model as built.
        optimizer: what was built with it.

    Raises:
        ProbeError: if how is something else.
    """
    if how is None or isinstance(model, nn.parallel.DistributedDataParallel):
        return model, optimizer
    if callable(how):
        return how(model), optimizer
    if how == "ddp":
        return nn.parallel.DistributedDataParallel(model), optimizer
    if how != "fsdp2":
        raise ProbeError(f"wrap is {how!r}; expected 'ddp', 'fsdp2', None or a callable.")
    from torch.distributed.fsdp import fully_shard  # noqa: PLC0415

    names = {id(param): name for name, param in model.named_parameters()}
    fully_shard(model)
    shards = dict(model.named_parameters())
    for group in getattr(optimizer, "param_groups", []):
        group["params"] = [shards[names[id(p)]] if id(p) in names else p for p in group["params"]]
    return model, optimizer


def answer_here() -> None:
    """Make this process write its stack to a file of its own when asked."""
    if _SIGNAL is None:
        return
    place = _place(os.getpid())
    place.unlink(missing_ok=True)
    # kept open as long as the process lives
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    faulthandler.register(_SIGNAL, file=handle, all_threads=False)


def forget(pid: int | None) -> None:
    """Remove the file of a process that has ended."""
    if pid is not None:
        _place(pid).unlink(missing_ok=True)


def stuck_line(pid: int | None) -> str:
    """Return the user's line at which a process is stuck, such as "probe.py:48 in run", or "".

    Args:
        pid: of a process that has called `answer_here`, if it has come so far.
    """
    if _SIGNAL is None or pid is None or not _place(pid).exists():
        return ""
    try:
        os.kill(pid, _SIGNAL)
    except OSError:
        return ""
    time.sleep(0.2)
    for frame in _FRAME.finditer(_place(pid).read_text(errors="replace")):
        if not any(part in frame["file"] for part in _NOT_THE_USERS):
            return f"{Path(frame['file']).name}:{frame['line']} in {frame['name']}"
    return ""


def _place(pid: int) -> Path:
    return Path(tempfile.gettempdir()) / f"batchproof-{pid}.stack"
