"""A skorch callback by which losses are means over samples, and so are steps over several batches.

skorch weighs the loss of each batch by its number of rows. Where the criterion divides by something
else, such as the class weights of its targets, that is a mean of other weights. While the criterion
runs, the call of torch's loss is recorded as a pair; at the end of the epoch the pairs are divided
once, and the numbers in net.history, by which the best epoch is chosen, are replaced.

With accumulate=k a step is taken over k batches. skorch sets the gradients to zero before each
batch, and tells its callbacks when they are computed: those of an open window are kept aside in
between, so that they are clipped once, and the optimizer is called after the last batch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from batchproof._extras import naming_extra

with naming_extra(__name__):
    import torch
    from torch import Tensor, nn, optim


from batchproof._errors import CriterionError, NonFiniteError, SettingError, kind_of
from batchproof._plan import expect_whole
from batchproof.integrations._given import framework
from batchproof.integrations._loss_calls import LossCall, LossCalls, OpenWindow, provisional_for
from batchproof.mean import Mean
from batchproof.ranks import world_size

_CLIPS = "GradientNormClipping"


@dataclass(slots=True)
class Batches:
    """The batches of one step so far.

    Attributes:
        window: their pairs; None before the first.
        aside: parameters with their gradients, while skorch begins a batch and ends it.
        count: number of batches.
        whole: number of batches of a whole window.
    """

    whole: int
    window: OpenWindow | None = None
    aside: list[tuple[Tensor, Tensor | None]] = field(default_factory=list)
    count: int = 0

    def add(self, call: LossCall) -> None:
        """Add a batch, between setting gradients to zero and its backward pass."""
        if self.window is None:
            provisional = provisional_for([call.weight])
            self.window = OpenWindow([1.0], provisional, micro_batches=self.whole)
        self.put_back()
        self.window.add(call)
        self.count += 1

    def set_aside(self, parameters: Sequence[Tensor]) -> None:
        """Keep gradients, and leave the parameters without."""
        self.aside = [(p, p.grad) for p in parameters if p.grad is not None]
        for parameter, _ in self.aside:
            parameter.grad = None

    def put_back(self) -> None:
        """Return the gradients to their parameters."""
        for parameter, gradient in self.aside:
            parameter.grad = gradient
        self.aside = []


class Recorded:
    """The callback's methods; comes before skorch's Callback among the bases of `ExactLosses`.

    Args:
        accumulate: batches of a step; the last step of an epoch has those that are left.
    """

    def __init__(self, accumulate: int = 1) -> None:
        self.accumulate = accumulate

    def initialize(self) -> Any:
        """Return the callback itself, with nothing recorded."""
        self._calls: LossCalls | None = None
        self._call: LossCall | None = None
        self._sums: dict[str, list[tuple[float, float]]] = {}
        self._hooks: list[Any] = []
        self._batches, self._stepping = Batches(self.accumulate), False
        return self

    def on_train_begin(self, net: Any, **_: Any) -> None:
        """Record the losses that the criterion calls.

        Raises:
            SettingError: if an exact step cannot be taken by the net.
        """
        expect_whole(accumulate=self.accumulate)
        _expect_module(net.criterion_)
        if self.accumulate > 1:
            _refuse_unsupported(net, self)
        self.on_train_end()
        self._batches, self._stepping = Batches(self.accumulate), False
        self._hooks = [
            net.criterion_.register_forward_pre_hook(self._before),
            net.criterion_.register_forward_hook(self._after, always_call=True),
        ]

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        """Begin with no pairs."""
        self._sums = {}

    def on_batch_begin(self, net: Any, *, training: bool, **_: Any) -> None:
        """Take over the step of a batch, and the last one of an epoch before a validation."""
        self._call = None
        if not training:
            self._step_over_rest(net)
        elif self.accumulate > 1:
            vars(net)["_step_optimizer"] = partial(self._step, net)

    def on_grad_computed(self, net: Any, **_: Any) -> None:
        """Keep the gradients of an open window aside, or divide those of one that is over."""
        if self.accumulate == 1 or self._stepping:
            return
        if self._call is None:
            raise CriterionError(
                f"{type(net).__name__} did not call its criterion, {type(net.criterion_).__name__},"
                " so its gradient cannot be weighed; expected one call a batch. Leave accumulate "
                "out."
            )
        if self._batches.count == self.accumulate:
            self._close(net)
        else:
            self._batches.set_aside([p for _, p in net.get_all_learnable_params()])

    def on_batch_end(self, net: Any, *, training: bool, loss: Tensor, **_: Any) -> None:
        """Add the pairs of the batch.

        Raises:
            CriterionError: if its loss is not what one of torch's losses returned.
            NonFiniteError: if it is NaN or infinite.
        """
        call, self._call = self._call, None
        name = "train_loss" if training else "valid_loss"
        value = loss.item()
        if not math.isfinite(value):
            raise NonFiniteError(
                f"{name} of a batch is {value}; a mean that leaves it out would be that of "
                "other data. Fix the data or the model."
            )
        if call is None or float(call.value) != value:
            raise CriterionError(
                f"the loss of {type(net).__name__} is {value:.6g}, which none of torch's "
                "losses returned to its criterion; expected a criterion of torch with "
                'reduction="mean". Leave ExactLosses out.'
            )
        self._sums.setdefault(name, []).append((value * float(call.weight), float(call.weight)))

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Replace the epoch's losses, and whether they are the best so far, in the history."""
        self._step_over_rest(net)
        for name, sums in self._sums.items():
            total, weight = torch.tensor(sums, dtype=torch.float64).sum(0)
            value = Mean(total, weight).item()
            before = net.history[:-1, name] if len(net.history) > 1 else []
            net.history.record(name, value)
            net.history.record(f"{name}_best", value < min(before, default=float("inf")))

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Record no more."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _step(self, net: Any, compute: Callable[[], Any]) -> None:
        """Compute the gradients of a batch, and take a step where its window is over."""
        del vars(net)["_step_optimizer"]
        compute()
        if not self._batches.count:
            net._step_optimizer(None)  # noqa: SLF001

    def _before(self, *_: Any) -> None:
        self._calls = LossCalls()
        self._calls.__enter__()

    def _after(self, criterion: nn.Module, _: Any, loss: Any) -> None:
        calls, self._calls = self._calls, None
        if calls is None:
            return
        calls.__exit__()
        before, self._call = self._call, _call_of(loss, calls.calls)
        if self.accumulate == 1 or not isinstance(loss, Tensor) or not loss.requires_grad:
            return
        if before is not None:
            raise CriterionError(
                f"{type(criterion).__name__} was called twice over a batch, so its gradient cannot "
                "be weighed; expected one call a batch. Leave accumulate out."
            )
        if self._call is None:
            raise CriterionError(
                f"{type(criterion).__name__} returned {loss.item():.6g}, which none of torch's "
                f"losses returned ({len(calls.calls)} calls), so its gradient cannot be weighed; "
                'expected a criterion of torch with reduction="mean". Leave accumulate out.'
            )
        self._batches.add(self._call)

    def _close(self, net: Any) -> None:
        window, self._batches = self._batches.window, Batches(self.accumulate)
        if window is not None:
            window.close(parameter for _, parameter in net.get_all_learnable_params())

    def _step_over_rest(self, net: Any) -> None:
        """Take a step over the batches that are left at the end of an epoch."""
        if not self._batches.count:
            return
        self._batches.put_back()
        self._close(net)
        self._stepping = True
        parameters = list(net.get_all_learnable_params())
        net.notify("on_grad_computed", named_parameters=parameters, batch=None, training=True)
        net._step_optimizer(None)  # noqa: SLF001
        net._zero_grad_optimizer()  # noqa: SLF001
        self._stepping = False


def _refuse_unsupported(net: Any, callback: Recorded) -> None:
    callbacks = [each for _, each in net.callbacks_]
    first = [type(c).__name__ for c in callbacks[: callbacks.index(callback)]]
    closures = [
        name
        for name in net._optimizers  # noqa: SLF001
        if isinstance(getattr(net, f"{name}_"), optim.LBFGS)
    ]
    wrong = (
        (
            hasattr(net, "accelerator"),
            "is run by accelerate",
            "Use accelerate's own integration",
        ),
        (world_size() > 1, "is one of several processes", "Use batchproof.Step"),
        (
            bool(closures),
            "steps by LBFGS, which calls a batch repeatedly",
            "Take another optimizer",
        ),
        (_CLIPS in first, f"has {_CLIPS} before ExactLosses", "Put ExactLosses first"),
    )
    for is_so, what, remedy in wrong:
        if is_so:
            raise SettingError(
                f"accumulate={callback.accumulate} was given, but {type(net).__name__} {what}; "
                f"expected whole windows of one process. {remedy}, or leave accumulate out."
            )


def _expect_module(criterion: Any) -> None:
    if not isinstance(criterion, nn.Module):
        raise SettingError(
            f"the criterion is {kind_of(criterion)}; expected a torch.nn.Module, such as "
            "torch.nn.CrossEntropyLoss. Leave ExactLosses out."
        )


def _call_of(loss: Any, calls: Sequence[LossCall]) -> LossCall | None:
    """Return the call whose mean a loss is; None where there is none."""
    for call in calls:
        if call.is_value(loss):
            return call
    if not isinstance(loss, Tensor):
        return None
    return next((call for call in calls if call.value == loss.item()), None)


def __getattr__(name: str) -> Any:
    if name != "ExactLosses":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    callback = framework("skorch.callbacks", "skorch").Callback
    globals()[name] = type(name, (Recorded, callback), {"__module__": __name__})
    return globals()[name]
