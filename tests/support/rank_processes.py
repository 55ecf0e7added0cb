"""Several processes of a test, each a rank: started together, ended within a time limit.

A rank is a fork of one process that has imported torch and batchproof, which takes seconds, and
has run nothing. It ends as every interpreter does.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def statuses(
    target: str,
    world: int,
    folder: Path,
    *arguments: str,
    seconds: float = 120,
    cuda: bool = False,
) -> list[int]:
    """Run `module:function`, called as function(folder, *arguments), on every rank.

    Returns:
        The exit statuses. What a rank printed is in the folder, in 0.out and 0.err and so on.

    Raises:
        TimeoutExpired: if a rank had to be killed after this many seconds.
    """
    environment = os.environ | {
        "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    if not cuda:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    request = {
        "target": target,
        "folder": str(folder),
        "arguments": arguments,
        "environment": environment,
        "seconds": seconds,
    }
    process = server()
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
    except BaseException:  # the next test must not read this one's answer
        process.kill()
        server.cache_clear()
        raise
    if answer is None:
        raise subprocess.TimeoutExpired(target, seconds)
    return answer


def run(
    target: str,
    world: int,
    folder: Path,
    *arguments: str,
    seconds: float = 120,
    cuda: bool = False,
) -> list:
    """Return what the function returned on every rank; raise with its errors if one failed."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    ended: list[int] | str
    try:
        ended = statuses(target, world, folder, *arguments, seconds=seconds, cuda=cuda)
    except subprocess.TimeoutExpired:
        ended = "too slow"
    if ended != [0] * world:
        errors = [f"rank {r}: {(folder / f'{r}.err').read_text()[-3000:]}" for r in range(world)]
        raise AssertionError(f"exit statuses {ended}\n" + "\n".join(errors))
    return [torch.load(folder / f"{r}.pt", weights_only=True) for r in range(world)]


@functools.cache
def server() -> subprocess.Popen:
    """Return the process of which ranks are forks; it ends when its standard input does."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve())],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(process.communicate)
    return process


def main() -> None:
    """Answer each request with the exit statuses of its ranks; None if they took too long."""
    import_all()
    for line in sys.stdin:
        request = json.loads(line)
        ranks = []
        for rank in range(int(request["environment"]["WORLD_SIZE"])):
            ranks.append(os.fork())
            if ranks[-1] == 0:
                act(request, str(rank))
                return
        print(json.dumps(wait(ranks, request["seconds"])), flush=True)


def import_all() -> None:
    """Import what ranks use, with shapes checked, and start no thread."""
    from checked_shapes import check_shapes

    check_shapes()
    for name in (
        "torch._dynamo",  # DistributedDataParallel and optimisers import it when they are made
        "torch.distributed.checkpoint",
        "torch.distributed.fsdp",
        "batchproof.check",
        "batchproof.train",
        "batchproof.watch",
    ):
        importlib.import_module(name)
    gc.freeze()  # a collection in a rank would copy the pages that all of them share


def act(request: dict, rank: str) -> None:
    """Be a rank: call the function in the environment of the test, and save what it returns."""
    folder = Path(request["folder"])
    for number, name in enumerate((os.devnull, folder / f"{rank}.out", folder / f"{rank}.err")):
        stream = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC if number else os.O_RDONLY)
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["environment"], RANK=rank, LOCAL_RANK=rank, OMP_NUM_THREADS="1")
    import torch

    torch.set_num_threads(1)
    module, function = request["target"].split(":")
    result = getattr(importlib.import_module(module), function)(folder, *request["arguments"])
    torch.save(result, folder / f"{rank}.pt")


def wait(ranks: list[int], seconds: float) -> list[int] | None:
    """Return the exit status of each rank, or None after the time limit, with all of them ended."""
    until = time.monotonic() + seconds
    ended: dict[int, int] = {}
    killed = False
    while len(ended) < len(ranks):
        for rank in [rank for rank in ranks if rank not in ended]:
            process, status = os.waitpid(rank, os.WNOHANG)
            if process:
                ended[rank] = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > until:
                os.kill(rank, 9)
                killed = True
        time.sleep(0.01)
    return None if killed else [ended[rank] for rank in ranks]


if __name__ == "__main__":
    main()
