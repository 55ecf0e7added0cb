"""Two programs that take turns at each micro-batch, for ratios that a machine's noise would hide.

Each runs in a process of its own and waits while the other works, so a slow moment meets both: the
times of one window of both sides are some milliseconds apart. What is counted is the processor's
time.
"""

import contextlib
import io
import multiprocessing
import time


def alternate(make, sides):
    """Return the processor's seconds of each micro-batch but the last, for two sides.

    Args:
        make: a function at the top of a module, of a side and `turn`, that returns a function which
            trains and calls `turn` at the start of each micro-batch.
        sides: two values, each of which one process hands to `make`.
    """
    context = multiprocessing.get_context("spawn")
    ends, results, workers = context.Pipe(), [], []
    for number, side in enumerate(sides):
        result, answer = context.Pipe(duplex=False)
        arguments = (make, side, ends[number], answer, number == 0)
        workers.append(context.Process(target=_run, args=arguments))
        workers[-1].start()
        results.append(result)
        answer.close()
    for end in ends:
        end.close()
    times = [result.recv() for result in results]
    for worker in workers:
        worker.join()
    return times


class _Turns:
    """One side: it works between two calls, and waits within a call."""

    def __init__(self, partner, *, begins):
        self.times = []
        self._partner, self._begins, self._began = partner, begins, None

    def __call__(self, *_, **__):
        if self._began is not None:
            self.times.append(time.process_time() - self._began)
        if self._began is not None or not self._begins:
            self.hand_over()
        # at its end the other has handed over for good
        with contextlib.suppress(EOFError):
            self._partner.recv()
        self._began = time.process_time()

    def hand_over(self):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._partner.send(None)


def _run(make, side, partner, answer, begins):
    turn = _Turns(partner, begins=begins)
    train = make(side, turn)
    with contextlib.redirect_stdout(io.StringIO()):
        train()
    turn.hand_over()
    partner.close()
    answer.send(turn.times)
