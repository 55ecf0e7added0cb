"""A sharded run as a user's script under torchrun, of which a rank dies in the first attempt.

torchrun --standalone --nproc-per-node 2 --max-restarts 1 restarted_run.py RUN [kill]
"""

import os
import signal
import sys
from pathlib import Path

import rank_runs
from batchproof.step import distributed_group
from batchproof.train import _signals

# ranks ask each other after every step: the one that dies is missed there, not in a backward pass
_signals._INTERVAL = 0.0


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    killing = sys.argv[2:] == ["kill"] and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    at = [rank_runs.At(5, 1, kill)] if killing else []
    with distributed_group("cpu") as place:
        seen = rank_runs.fit(Path(sys.argv[1]), "fsdp", checkpoint_every_steps=2, callbacks=at)
    if place.rank == 0:
        print(f"estimate {seen['estimate']}")
