"""The rank to blame when a collective fails: the one that raised, died or hung.

A failed collective names a socket, not a rank. So each rank writes a heartbeat to the store of
its process group about once a second, with its current place, and before it ends it writes down
why, which the others read with their next heartbeat. The lowest rank that is left searches the
store: for a cause, then for a rank whose heartbeats have stopped, then for one that is alive but
late; the others wait for its answer. Late is the rank with the smallest place, and of those at one
place, as within a backward pass that exchanges gradients, the one that has begun fewer collectives.
"""

import atexit
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import distributed

from batchproof._errors import RankError

Answer = TypeVar("Answer")

CAUSE = "batchproof/cause"
# more places than a rank can come to within one window
WINDOW = 2**40
LOOKING = "batchproof/looking"
BEAT = "batchproof/beat/{rank}"
KEEPER = "rank 0, which keeps the ranks' store,"
# gloo has no exception of its own; its errors name the file that raised them, but for one
GLOO = ("/gloo/", "Application timeout caused pair closure")


def is_broken_collective(error: BaseException) -> bool:
    """Return whether an error is that of a collective, so that another rank may be the cause."""
    if isinstance(error, distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in GLOO)


def pause_of(size: int) -> float:
    """Return the seconds between a rank's questions to the store: longer where more ranks ask."""
    return max(0.05, size / 2000)


@dataclass(eq=False)
class Watch:
    """One rank's heartbeats, and its check of those of the other ranks.

    Attributes:
        store: what the ranks share.
        rank: this rank.
        size: the number of ranks.
        interval: seconds between two heartbeats.
        place: the progress of this rank; it only grows, and is comparable between ranks.
    """

    store: Any
    rank: int
    size: int
    interval: float = 0.0
    place: int = 0
    _cause_so_far: str = field(default="", repr=False)
    _silent: bool = field(default=False, repr=False)
    _end: threading.Event = field(default_factory=threading.Event, repr=False)
    _thread: threading.Thread | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        # at most some 500 writes a second to one store
        self.interval = self.interval or max(0.5, self.size / 500)

    def enter(self) -> None:
        """Count the beginning of a window, which every rank reaches."""
        self.place = (self.place // WINDOW + 1) * WINDOW

    def advance(self) -> None:
        """Count a step within a window."""
        self.place += 1

    def arrive(self) -> None:
        """Count the end of a window, after which this rank only waits for the others."""
        self.place = (self.place // WINDOW + 1) * WINDOW - 1

    def begin(self) -> None:
        """Begin to write heartbeats."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._live, name="batchproof-life", daemon=True)
            self._thread.start()
            atexit.register(self.end)

    def end(self) -> None:
        """Stop writing heartbeats."""
        self._end.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            # a thread that outlives the interpreter would be aborted, and the process with it; one
            # that waits for a silent store keeps waiting
            self._thread.join(0 if self._silent else 30)
        atexit.unregister(self.end)

    def report(self, error: BaseException) -> None:
        """Write down why this rank ends, unless a cause is there already."""
        text = f"rank {self.rank} raised {type(error).__name__}: {first_line(error)}"
        self._asked(lambda: _write(self.store, text))

    def explain(self, error: BaseException) -> RankError:
        """Return the error that names the cause of a failed collective, within a few seconds."""

        def find() -> str:
            try:
                return self._cause() or self._told() or self._look(error)
            except RuntimeError:
                return self._cause_so_far or f"{KEEPER} is gone"

        cause = self._asked(find) or self._cause_so_far or f"{KEEPER} does not answer"
        return RankError(f"{cause}; rank {self.rank} ends with it. Fix the cause and start again.")

    def stay(self) -> None:
        """Keep the store until the other ranks have read the cause in it."""
        if self._asked(self._cause):
            time.sleep(5 * self.interval)

    def _asked(self, ask: Callable[[], Answer]) -> Answer | None:
        """Return the store's answer; None if it is silent, for it has no time limit itself."""
        answers: list[Answer] = []
        if not self._silent:
            asking = threading.Thread(target=lambda: answers.append(ask()), daemon=True)
            asking.start()
            asking.join(2 * self._patience())
            self._silent = not answers
        return answers[0] if answers else None

    def _patience(self) -> float:
        return 5 * self.interval + 5 + 2 * pause_of(self.size)

    def _told(self) -> str:
        """Return the finding of the rank that searches; "" if that is this one, or none answers.

        One rank reads the heartbeats of all: if each did, the store would be asked for as
        many as the square of their number.
        """
        me = str(self.rank)
        if self.store.compare_set(LOOKING, "", me).decode() == me:
            return ""
        until = time.monotonic() + self._patience()
        while time.monotonic() < until:
            if cause := self._cause():
                return cause
            time.sleep(pause_of(self.size))
        return ""

    def _look(self, error: BaseException) -> str:
        before = _beats(self.store, self.size)
        until = time.monotonic() + 2.5 * self.interval
        while time.monotonic() < until:
            if cause := self._cause():
                return cause
            time.sleep(0.05)
        after = _beats(self.store, self.size)
        missing = [rank for rank in range(self.size) if after[rank] == before[rank]]
        missing = [rank for rank in missing if rank != self.rank]
        alive = {rank: _progress(beat) for rank, beat in after.items() if beat}
        # all others wait, some of them for each other: the one with the smallest place is late
        late = [
            rank for rank, at in alive.items() if at == min(alive.values()) < max(alive.values())
        ]
        if missing:
            text = f"{_listed(missing)} is gone without an error"
        elif late:
            text = f"{_listed(late)} is alive but did not join within the group's time limit"
            collective = alive[late[0]][1]
            if 0 < collective == max(number for _, number in alive.values()):
                text += ", or waits in a collective that the model or the loss makes there alone"
        else:
            text = f"a collective failed: {first_line(error)}"
        _write(self.store, text)
        return self._cause() or text

    def _cause(self) -> str:
        return self.store.get(CAUSE).decode() if self.store.check([CAUSE]) else ""

    def _live(self) -> None:
        count = 0
        key = BEAT.format(rank=self.rank)
        while distributed.is_initialized() and not self._end.is_set():
            try:
                self.store.set(key, f"{count} {self.place} {_collectives_begun()}")
                # the store may be gone when the cause is asked for
                self._cause_so_far = self._cause_so_far or self._cause()
            except RuntimeError:
                return
            count += 1
            self._end.wait(self.interval)


def _beats(store: Any, size: int) -> dict[int, str]:
    """Return each rank's last heartbeat; "" where there is none."""
    keys = {rank: BEAT.format(rank=rank) for rank in range(size)}
    return {rank: store.get(k).decode() if store.check([k]) else "" for rank, k in keys.items()}


def _progress(beat: str) -> tuple[int, int]:
    """Return the place and the number of collectives begun that a heartbeat holds."""
    _, place, collectives = beat.split()
    return int(place), int(collectives)


def _collectives_begun() -> int:
    """Return the number of collectives that this rank has begun in all its groups."""
    groups: list[Any] = list(distributed.distributed_c10d._world.pg_map)  # noqa: SLF001
    number = 0
    for group in groups:
        with suppress(RuntimeError):  # a backend that does not count
            number += group._get_sequence_number_for_group()  # noqa: SLF001
    return number


def _write(store: Any, cause: str) -> None:
    """Write down a cause, unless there is one already."""
    try:
        store.compare_set(CAUSE, "", cause)
    except RuntimeError:
        # the store is gone with rank 0; there is nobody to notify
        return


_watches: dict[int, Watch] = {}


def watch_of(group: "distributed.ProcessGroup") -> Watch:
    """Return the watch over a process group, begun with its first use."""
    key = id(group)
    if key not in _watches:
        store = group.get_group_store()
        watch = Watch(store, distributed.get_rank(group), distributed.get_world_size(group))
        watch.begin()
        _watches[key] = watch
    return _watches[key]


def end_all() -> None:
    """End the watches over every group, before the groups are gone."""
    while _watches:
        _watches.popitem()[1].end()


def _listed(ranks: list[int]) -> str:
    return " and ".join(f"rank {rank}" for rank in ranks)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return (str(error).strip() or repr(error)).splitlines()[0][:500]
