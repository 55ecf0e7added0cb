"""Several processes of a test, each a rank: started together, ended within a time limit."""

import importlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(
    target: str, world: int, folder: Path, *arguments: str, cuda: bool = False
) -> list[subprocess.Popen]:
    """Start `module:function`, called as function(folder, *arguments), on every rank."""
    port = str(free_port())
    here = [str(HERE), os.environ.get("PYTHONPATH", "")]
    processes = []
    for rank in range(world):
        environment = os.environ | {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(world),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, here)),
        }
        if not cuda:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        with (folder / f"{rank}.out").open("w") as out, (folder / f"{rank}.err").open("w") as err:
            command = [sys.executable, str(HERE / "rank_processes.py"), target, str(folder)]
            processes.append(
                subprocess.Popen([*command, *arguments], env=environment, stdout=out, stderr=err)
            )
    return processes


def finish(processes: list[subprocess.Popen], seconds: float) -> list[int]:
    """Wait for all, and end whatever is left after the time limit; return exit statuses."""
    until = time.monotonic() + seconds
    try:
        for process in processes:
            process.wait(max(0.1, until - time.monotonic()))
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
    return [process.returncode for process in processes]


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
    try:
        statuses = finish(start(target, world, folder, *arguments, cuda=cuda), seconds)
    except subprocess.TimeoutExpired:
        statuses = ["too slow"]  # type: ignore[list-item]
    if any(statuses):
        errors = [f"rank {r}: {(folder / f'{r}.err').read_text()[-3000:]}" for r in range(world)]
        raise AssertionError(f"exit statuses {statuses}\n" + "\n".join(errors))
    return [torch.load(folder / f"{r}.pt", weights_only=True) for r in range(world)]


def main() -> None:
    # annotations are checked on rank 0, where that does not make a crowd of processes slow: the
    # hook takes longer than importing torch does, and the other ranks run the same functions
    if int(os.environ["WORLD_SIZE"]) <= 2 and os.environ["RANK"] == "0":
        from jaxtyping import install_import_hook

        install_import_hook("batchproof", "beartype.beartype").__enter__()
    import torch

    torch.set_num_threads(1)
    module, function = sys.argv[1].split(":")
    folder = Path(sys.argv[2])
    result = getattr(importlib.import_module(module), function)(folder, *sys.argv[3:])
    torch.save(result, folder / f"{os.environ['RANK']}.pt")


if __name__ == "__main__":
    main()
