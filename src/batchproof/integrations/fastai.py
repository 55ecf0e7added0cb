"""A fastai metric that is the mean of a loss over samples, and a callback for exact accumulation.

fastai's valid_loss weighs the mean of each batch by its number of rows, and so does its
GradientAccumulation. Where the loss divides by something else, such as the class weights of its
targets, that is a mean of other weights. GradientAccumulation divides every window by n_acc,
whatever it holds, and what is left at the end of an epoch waits for the next.
"""

from dataclasses import dataclass
from typing import Any

from batchproof._extras import naming_extra

with naming_extra(__name__):
    import torch
    from torch import Tensor


from batchproof._errors import SettingError
from batchproof._plan import expect_whole
from batchproof._trees import tree_map
from batchproof.integrations._given import framework
from batchproof.integrations._loss_calls import (
    LossCall,
    LossCalls,
    OpenWindow,
    coefficients_of,
    provisional_for,
)
from batchproof.mean import exact
from batchproof.meter import Meter
from batchproof.ranks import world_size


class LossSums:
    """The sums of a loss; comes before fastai's Metric among the bases of `ExactLoss`.

    Args:
        loss: a criterion of torch with reduction="mean", or one of fastai's around it, such as
            CrossEntropyLossFlat.
        name: under which the metric is shown, and named as monitor=.
    """

    def __init__(self, loss: Any, *, name: str = "exact_loss") -> None:
        self._pairs, self._name = exact(getattr(loss, "func", loss)), name
        self.reset()

    def reset(self) -> None:
        """Begin with no losses."""
        self._meter = Meter()

    def accumulate(self, learn: Any) -> None:
        """Add the batch that the Learner has at hand."""
        # fastai's own kinds of tensors have rules of their own for functions
        output, target = tree_map(_plain, (learn.pred, learn.yb[0]))
        self._meter.add(self._pairs(output, target).detach())

    @property
    def value(self) -> float:
        """The mean over all samples."""
        return self._meter.estimate().value

    @property
    def name(self) -> str:
        """The name of the column."""
        return self._name


@dataclass(slots=True)
class Batches:
    """The batches of one step so far; fastai searches the Learner for what a callback assigns.

    Attributes:
        window: their pairs; None before the first.
        samples: number of them.
        calls: what records the losses of the batch at hand.
        coefficients: c_k of each loss; None until the first batch.
    """

    window: OpenWindow | None = None
    samples: int = 0
    calls: LossCalls | None = None
    coefficients: list[float] | None = None

    def begin(self) -> OpenWindow | None:
        """Begin a window without samples, and return the one before."""
        window, self.window, self.samples = self.window, None, 0
        return window

    def stop(self) -> list[LossCall]:
        """Record no more, and return what was recorded."""
        calls, self.calls = self.calls, None
        if calls is None:
            return []
        calls.__exit__()
        return calls.calls


class Accumulated:
    """The events; comes before fastai's Callback among the bases of `ExactAccumulation`.

    Args:
        n_acc: samples after which a step is taken, as in GradientAccumulation; the last step of an
            epoch has those that are left.
    """

    run_valid = False
    learn: Any

    def __init__(self, n_acc: int = 32) -> None:
        expect_whole(n_acc=n_acc)
        super().__init__()
        self.n_acc = n_acc
        self._batches = Batches()

    def before_fit(self) -> None:
        """Begin with no samples.

        Raises:
            SettingError: if there are several processes, or two callbacks accumulate.
        """
        self._batches.stop()
        self._batches = Batches()
        names = [type(callback).__name__ for callback in self.learn.cbs]
        if "GradientAccumulation" in names or names.count("ExactAccumulation") > 1:
            raise SettingError(
                "ExactAccumulation was given beside another callback that accumulates; expected "
                "one of them. Leave the other out."
            )
        if world_size() > 1:
            raise SettingError(
                f"ExactAccumulation was given in one of {world_size()} processes, whose windows "
                "may end apart; expected one process. Use batchproof.Step."
            )
        self._core = framework("fastai.callback.core", "fastai")
        # of a training that broke off within a window
        self.learn.opt.zero_grad()

    def after_pred(self) -> None:
        """Record the losses that the loss function calls."""
        self._batches.stop()
        self._batches.calls = LossCalls()
        self._batches.calls.__enter__()

    def after_loss(self) -> None:
        """Add the batch to the window, before its backward pass."""
        learn, batches = self.learn, self._batches
        calls, rows = batches.stop(), len(learn.yb[0])
        if batches.coefficients is None:
            loss = learn.loss_grad.as_subclass(Tensor)
            batches.coefficients = coefficients_of(loss, calls, type(learn.loss_func).__name__)
        if batches.window is None:
            batches.window = OpenWindow(
                batches.coefficients,
                provisional_for(call.weight for call in calls),
                alone=rows >= self.n_acc,
                micro_batches=self.n_acc / rows,
            )
        for call in calls:
            batches.window.add(call)
        batches.samples += rows
        # the Recorder averages losses in float32, and takes no other
        if learn.loss_grad.dtype != torch.float32:
            learn.loss = learn.loss.float()

    def before_step(self) -> None:
        """Divide the gradients of a window that is over; else leave the step out."""
        if self._batches.window is None:
            return
        if self._batches.samples < self.n_acc:
            raise self._core.CancelBatchException
        self._close()

    def after_train(self) -> None:
        """Take a step over the samples that are left at the end of an epoch."""
        if self._batches.window is None:
            return
        self._close()
        learn = self.learn
        learn._with_events(learn._step, "step", self._core.CancelStepException)  # noqa: SLF001
        learn.opt.zero_grad()

    def _close(self) -> None:
        window = self._batches.begin()
        if window is not None:
            window.close(self.learn.model.parameters())


def _plain(tensor: Tensor) -> Tensor:
    return tensor.as_subclass(Tensor)


def __getattr__(name: str) -> Any:
    if name == "ExactLoss":
        bases: tuple[type, ...] = (LossSums, framework("fastai.learner", "fastai").Metric)
        members = {}
    elif name == "ExactAccumulation":
        fp16 = framework("fastai.callback.fp16", "fastai")
        bases = (Accumulated, framework("fastai.callback.core", "fastai").Callback)
        # where fastai has its own: before mixed precision unscales and gradients are clipped
        members = {"order": fp16.MixedPrecision.order - 4}
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = type(name, bases, {"__module__": __name__, **members})
    return globals()[name]
