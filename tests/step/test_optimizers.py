"""Optimisers inside wrappers, with hooks, or with wishes of their own: divided once, or refused."""

from contextlib import contextmanager

import pytest
import torch
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import StepLR
from torch.optim.optimizer import register_optimizer_step_pre_hook

import batchproof as bp
from batchproof.step import _update

X, Y = torch.ones(4, 1), torch.zeros(4, 1)
WINDOW = [slice(0, 3), slice(3, 4)]


def mse(model, rows):
    return bp.exact(torch.nn.MSELoss())(model(X[rows]), Y[rows])


def model_of():
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(model.weight)
    return model


class SharingItsDict(torch.optim.Optimizer):
    def __init__(self, inner):
        self.__dict__.update(inner.__dict__)
        self.inner = inner

    def step(self, closure=None):
        return self.inner.step(closure)


class SharingItsClass(SharingItsDict):
    """As Lightning's: a class made at run time, which derives from the optimiser's own."""

    def __new__(cls, inner):
        made = type(f"Wrapped{type(inner).__name__}", (SharingItsDict, type(inner)), {})
        wrapper = object.__new__(made)
        SharingItsDict.__init__(wrapper, inner)
        return wrapper


class ByProperty(torch.optim.Optimizer):
    def __init__(self, inner):
        self.inner = inner

    state = property(lambda self: self.inner.state)
    param_groups = property(lambda self: self.inner.param_groups)
    _step_supports_amp_scaling = property(lambda self: self.inner._step_supports_amp_scaling)
    _optimizer_step_pre_hooks = property(lambda self: self.inner._optimizer_step_pre_hooks)

    def step(self, closure=None):
        return self.inner.step(closure)


class ByName:
    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)


class Callable(ByName):
    def __call__(self, *args):
        raise AssertionError


def patched(inner):
    step = inner.step
    inner.step = lambda closure=None: step(closure)
    return inner


def patched_by_a_scheduler(inner):
    inner.scheduler = StepLR(inner, 100)
    return inner


def wrapped_twice(inner):
    return ByName(SharingItsDict(inner))


WRAPPERS = [
    SharingItsDict,
    SharingItsClass,
    ByProperty,
    ByName,
    Callable,
    patched,
    patched_by_a_scheduler,
    wrapped_twice,
]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("wrap", WRAPPERS, ids=lambda wrap: wrap.__name__)
def test_an_optimiser_in_a_wrapper_is_divided(wrap, fused, unchecked):
    model = model_of()
    step = bp.Step(model, wrap(SGD(model.parameters(), lr=0.1, fused=fused)))
    step(WINDOW, mse)
    # the gradient of mean (w x)^2 is 2 at w = x = 1
    assert model.weight.item() == pytest.approx(0.8)


def test_the_kernel_still_divides_where_a_scheduler_counts_the_steps(monkeypatch):
    model = model_of()
    optimizer = patched_by_a_scheduler(SGD(model.parameters(), lr=0.1, fused=True))
    monkeypatch.setattr(_update, "scale", lambda grads, factor: pytest.fail("a pass of its own"))
    bp.Step(model, optimizer)(WINDOW, mse)
    assert model.weight.item() == pytest.approx(0.8)


@contextmanager
def no_hook(optimizer, look):
    class Looking(SGD):
        def step(self, closure=None):
            look(self)
            return super().step(closure)

    optimizer.__class__ = Looking
    yield


@contextmanager
def hook_of_the_optimiser(optimizer, look):
    optimizer.register_step_pre_hook(lambda optimizer, *_: look(optimizer))
    yield


@contextmanager
def hook_of_all_optimisers(optimizer, look):
    handle = register_optimizer_step_pre_hook(lambda optimizer, *_: look(optimizer))
    yield
    handle.remove()


@pytest.mark.parametrize("hook", [no_hook, hook_of_the_optimiser, hook_of_all_optimisers])
def test_what_looks_at_gradients_before_the_step_sees_those_of_the_mean(hook):
    model = model_of()
    optimizer = SGD(model.parameters(), lr=0.1, fused=True)
    seen = []
    with hook(optimizer, lambda o: seen.append(o.param_groups[0]["params"][0].grad.item())):
        bp.Step(model, optimizer)(WINDOW, mse)
    assert seen == [pytest.approx(2.0)]
    assert model.weight.item() == pytest.approx(0.8)


@pytest.mark.parametrize("wrap", [SharingItsDict, SharingItsClass, ByName])
def test_an_overflow_under_a_scaler_does_not_reach_a_wrapped_fused_optimiser(wrap, unchecked):
    model = model_of()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    step = bp.Step(model, wrap(SGD(model.parameters(), lr=0.1, fused=True)), scaler=scaler)
    result = step([1e35], lambda model, size: bp.reduce(model(X)[:, 0] * size))
    assert result.skipped
    assert model.weight.item() == 1.0
    assert scaler.get_scale() == 2.0**15
    step(WINDOW, mse)
    assert model.weight.item() == pytest.approx(0.8)


def test_an_optimiser_that_releases_gradients_is_refused_before_it_trains():
    model = model_of()
    optimizer = SGD(model.parameters(), lr=0.1)
    optimizer.param_groups[0]["gradient_release"] = True
    with pytest.raises(bp.SettingError, match="updates parameters within each backward pass"):
        bp.Step(model, optimizer)


def test_an_optimiser_in_the_backward_pass_is_refused_before_it_trains():
    model = model_of()
    model.weight._in_backward_optimizers = []
    with pytest.raises(bp.SettingError, match="Build it without gradient release"):
        bp.Step(model, SGD(model.parameters(), lr=0.1))


def test_gradients_consumed_by_hooks_are_not_said_to_have_trained_nothing():
    model = model_of()

    def release(parameter):
        with torch.no_grad():
            parameter -= 0.1 * parameter.grad
        parameter.grad = None

    model.weight.register_post_accumulate_grad_hook(release)
    with pytest.raises(bp.SettingError, match=r"hooks that consume gradients .* have trained"):
        bp.Step(model, SGD(model.parameters(), lr=0.1))(WINDOW, mse)


class NoClosureError(Exception):
    pass


class Wanting(AdamW):
    def __init__(self, parameters, error):
        super().__init__(parameters)
        self.error = error

    def step(self, closure=None):
        raise self.error


@pytest.mark.parametrize(
    ("error", "match"),
    [
        (NoClosureError("SAM requires closure"), r"Wanting wants a closure.*step\(self, closure\)"),
        (RuntimeError("call backward(create_graph=True)"), "Wanting wants gradients with a graph"),
    ],
)
def test_an_optimiser_that_wants_more_says_what_to_do(error, match):
    model = model_of()
    with pytest.raises(bp.SettingError, match=match):
        bp.Step(model, Wanting(model.parameters(), error))(WINDOW, mse)


def test_where_hooks_train_within_the_backward_pass_no_error_says_that_nothing_moved():
    model = model_of()
    weight = next(model.parameters())
    weight.register_hook(lambda gradient: weight.data.sub_(gradient * float("inf")))
    with pytest.raises(bp.NonFiniteError, match="the optimiser took no step") as error:
        bp.Step(model, SGD(model.parameters(), 0.1))(WINDOW, mse)
    assert "unchanged" not in str(error.value)


class Curved(SGD):
    """Takes second derivatives of the loss, as AdaHessian does."""

    def step(self):
        for group in self.param_groups:
            torch.autograd.grad([p.grad.sum() for p in group["params"]], group["params"])


def test_an_optimiser_of_second_derivatives_is_refused_by_name():
    model = model_of()
    with pytest.raises(bp.SettingError, match="Curved wants gradients with a graph"):
        bp.Step(model, Curved(model.parameters(), 0.1))(WINDOW, mse)


class Twice(SGD):
    """Takes its gradient from the closure."""

    def step(self, closure):
        with torch.enable_grad():
            loss = closure()
        super().step()
        return loss


class Holding(torch.optim.Optimizer):
    """Holds an optimiser under some name, and makes its closure optional."""

    def __init__(self, held, name):
        vars(self).update(vars(held))
        vars(self)[name] = held
        self.name = name

    def step(self, closure=None):
        return vars(self)[self.name].step(closure)


def test_a_closure_that_a_wrapper_makes_optional_is_given():
    bare, held = model_of(), model_of()
    bp.Step(bare, Twice(bare.parameters(), lr=0.1))(WINDOW, mse)
    bp.Step(held, Holding(Twice(held.parameters(), lr=0.1), "optimizer"))(WINDOW, mse)
    assert torch.equal(bare.weight, held.weight)


def test_a_wrapper_that_hides_the_closure_which_is_needed_says_what_to_do():
    model = model_of()
    step = bp.Step(model, Holding(Twice(model.parameters(), lr=0.1), "inner"))
    with pytest.raises(bp.SettingError, match=r"Holding wants a closure.*step\(self, closure\)"):
        step(WINDOW, mse)


@pytest.mark.parametrize(
    "error", [ValueError("bad value"), RuntimeError("Application timeout caused pair closure")]
)
def test_other_errors_of_an_optimiser_are_its_own(error):
    model = model_of()
    with pytest.raises(type(error), match=str(error)) as raised:
        bp.Step(model, Wanting(model.parameters(), error))(WINDOW, mse)
    assert raised.value is error


@pytest.mark.parametrize(
    "settings",
    [{"count": "forward"}, {"out_of_memory": "split"}, {}],
    ids=["count", "split", "lbfgs"],
)
def test_a_loss_may_take_a_batch_apart_that_it_is_given_more_than_once(settings):
    def popping(model, batch):
        return bp.exact(torch.nn.MSELoss())(model(batch["x"]), batch.pop("y"))

    window = [{"x": torch.ones(2, 1), "y": torch.zeros(2, 1)} for _ in range(2)]
    model = model_of()
    kind = SGD if settings else torch.optim.LBFGS
    bp.Step(model, kind(model.parameters(), lr=0.1), **settings)(window, popping)
    assert all(batch.keys() == {"x", "y"} for batch in window)
