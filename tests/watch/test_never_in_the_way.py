"""A watched run gives the same bits as the run alone, and leaves nothing behind."""

import gc
import warnings
from contextlib import nullcontext
from pathlib import Path
from types import FunctionType

import pytest
import torch
from torch import log_softmax, nn
from torch.nn import functional as F
from torch.nn.functional import cross_entropy, mse_loss
from torch.optim.lr_scheduler import LinearLR

import batchproof
from batchproof.watch import watch, watch_loss
from batchproof.watch._losses import specs

HERE = Path(__file__).name


def trained(context):
    """Weights, random state and gradients after a training with all that watch looks at."""
    torch.manual_seed(3)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
    model = nn.Sequential(nn.Embedding(7, 8), layer, nn.Linear(8, 7))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = LinearLR(optimizer, total_iters=4)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    with context:
        for step in range(6):
            for _ in range(2):
                tokens = torch.randint(7, (3, 5))
                output = model(tokens).flatten(0, 1)
                losses = cross_entropy(output, tokens.flatten(), reduction="none")
                scaler.scale(losses.mean() / 2 + 0.1 * mse_loss(output, output * 0)).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
            optimizer.zero_grad(set_to_none=step % 2 == 0)
            model.eval()
            with torch.no_grad():
                model(tokens)
            model.train()
    return [p.detach().clone() for p in model.parameters()], torch.get_rng_state()


def test_weights_and_random_state_are_those_of_the_run_alone():
    alone, state = trained(nullcontext())
    watched, watched_state = trained(watch())
    assert all(torch.equal(a, b) for a, b in zip(alone, watched, strict=True))
    assert torch.equal(state, watched_state)


def bodies():
    every = [f for f in specs() if isinstance(f, FunctionType)]
    return [f.__code__ for f in every], vars(torch.Tensor).get("log_softmax"), torch.log_softmax


def test_nothing_is_left_behind():
    before = bodies()
    state_dict = nn.Module.state_dict
    with watch():
        assert bodies() != before
    assert bodies() == before
    assert nn.Module.state_dict is state_dict


def test_nothing_is_left_behind_by_an_error():
    before = bodies()
    with pytest.raises(KeyError), watch():
        raise KeyError
    assert bodies() == before


def test_after_its_steps_nothing_is_watched():
    before = bodies()
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters())
    with watch(steps=2) as seen:
        for step in range(4):
            mse_loss(model(torch.ones(2, 2)), torch.ones(2, 1)).backward()
            optimizer.step()
            optimizer.zero_grad()
            assert (bodies() == before) == (step >= 1)
    assert len(seen.report().steps) == 2
    assert seen.watcher.ended_early


def test_two_watches_at_once_are_refused():
    with (
        watch(),
        pytest.raises(batchproof.SettingError, match="already watched"),
        watch(),
    ):
        pass


@pytest.mark.parametrize("steps", [0, -1])
def test_a_number_of_steps_below_one_is_refused(steps):
    with pytest.raises(batchproof.SettingError, match="at least 1"):
        watch(steps=steps)


def test_the_package_is_called_as_the_function():
    with batchproof.watch(numbers=False) as seen:
        F.mse_loss(torch.ones(2), torch.zeros(2))
    assert [loss.kind for loss in seen.watcher.losses] == ["mse_loss"]


X, Y = torch.randn(4, 3, generator=torch.manual_seed(0)), torch.tensor([0, 1, 2, 2])


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda x: F.cross_entropy(x, Y), "cross_entropy"),
        (lambda x: cross_entropy(x, target=Y), "cross_entropy"),
        (lambda x: nn.CrossEntropyLoss()(x, Y), "cross_entropy"),
        (lambda x: torch.nn.functional.l1_loss(x, X), "l1_loss"),
        (lambda x: nn.functional.huber_loss(input=x, target=X), "huber_loss"),
        (lambda x: nn.NLLLoss()(x.log_softmax(1), Y), "nll_loss"),
        (lambda x: nn.KLDivLoss(reduction="batchmean")(x.log_softmax(1), X), "kl_div"),
        (lambda x: nn.BCEWithLogitsLoss()(x, X.sigmoid()), "binary_cross_entropy_with_logits"),
        (lambda x: nn.TripletMarginLoss()(x, X, X + 1), "triplet_margin_loss"),
        (lambda x: nn.GaussianNLLLoss()(x, X, torch.ones(4, 3)), "gaussian_nll_loss"),
        (lambda x: nn.CosineEmbeddingLoss()(x, X, torch.ones(4)), "cosine_embedding_loss"),
        (lambda x: nn.MultiMarginLoss()(x, Y), "multi_margin_loss"),
        (lambda x: nn.PoissonNLLLoss()(x, X.exp()), "poisson_nll_loss"),
    ],
)
def test_a_loss_is_seen_however_it_is_called(call, kind):
    x = X.clone().requires_grad_()
    with watch(numbers=False) as seen:
        call(x).backward()
    (loss,) = seen.watcher.losses
    assert loss.kind == kind
    assert loss.site.split("/")[-1].startswith(HERE)
    assert not seen.watcher.not_followed()
    assert loss.samples == 4


def test_the_total_is_the_sum_of_weighted_losses():
    target, weight = torch.tensor([0, 1, -100, 2]), torch.tensor([1.0, 2.0, 4.0])
    with watch(numbers=False) as seen:
        F.cross_entropy(X, target, weight)
    (loss,) = seen.watcher.losses
    assert loss.weight == 7.0
    assert loss.elements == 3
    whole = F.cross_entropy(X.double(), target, weight.double(), reduction="sum")
    assert loss.total == pytest.approx(whole.item(), rel=1e-6)


def test_a_compiled_loss_is_said_not_to_be_followed():
    loss = lambda x: F.cross_entropy(2 * x, Y)  # noqa: E731
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    x = X.clone().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with watch(numbers=False) as seen:
            compiled(x).backward()
        wanted = torch.autograd.grad(F.cross_entropy(2 * x, Y), x)[0]
    assert torch.equal(x.grad, wanted)
    (missed,) = seen.watcher.not_followed()
    assert missed.startswith("0 of 1 losses were followed")
    assert HERE in missed


def test_a_loss_of_an_autograd_function_is_said_not_to_be_followed():
    class Halved(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.sum() / 2

        @staticmethod
        def backward(ctx, g):
            return g.expand(4, 3) / 2

    x = X.clone().requires_grad_()
    with watch(numbers=False) as seen:
        Halved.apply(x).backward()
        F.l1_loss(x, X).backward()
    (missed,) = seen.watcher.not_followed()
    assert missed.startswith("1 of 2 losses were followed")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torch_script_compiles_blocks_without_gradients():
    class Module(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return x / 2

    with watch():
        half = torch.jit.script(Module())
    assert half(torch.ones(2)).tolist() == [0.5, 0.5]


def test_an_error_of_the_loss_reaches_the_script_as_it_is():
    with watch(), pytest.raises(ValueError, match="batch_size"):
        F.cross_entropy(X, Y[:2])


def test_a_mark_does_nothing_where_nothing_watches():
    losses = torch.ones(3)
    assert watch_loss(losses, mask=torch.ones(3).bool()) is losses
    assert not losses._backward_hooks


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(batchproof.ShapeError, match="expand_as"):
        watch_loss(torch.ones(3, 2), mask=torch.ones(3, 1).bool())


def masses_of(run):
    with watch(numbers=False) as seen:
        run()
    return [[part.mass for part in step.contributions] for step in seen.watcher.steps]


def test_masses_are_the_derivative_of_what_the_optimiser_follows():
    weight = nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([weight], lr=1.0)

    def run():
        for factor in (0.25, 2.0):
            (factor * F.mse_loss(weight + 1, torch.zeros(3))).backward()
        weight.grad.data.mul_(0.5)
        F.l1_loss(weight - 1, torch.zeros(3)).backward()
        nn.utils.clip_grad_norm_([weight], 0.1)
        optimizer.step()

    assert masses_of(run) == [pytest.approx([0.125, 1.0, 1.0])]


def test_a_gradient_whose_data_is_assigned_is_scaled_by_what_was_assigned():
    weight = nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([weight], lr=1.0)

    def run():
        for _ in range(2):
            F.mse_loss(weight + 1, torch.zeros(3)).backward()
        weight.grad.data = weight.grad.data / 2
        optimizer.step()

    assert masses_of(run) == [pytest.approx([0.5, 0.5])]


def test_a_graph_that_is_kept_gives_a_second_pass():
    weight = nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([weight], lr=1.0)

    def run():
        loss = F.mse_loss(weight, torch.ones(3))
        loss.backward(retain_graph=True)
        (3 * loss).backward()
        optimizer.step()

    assert masses_of(run) == [[1.0, 3.0]]


def test_what_autograd_grad_asks_for_enters_no_step():
    weight = nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([weight], lr=1.0)

    def run():
        loss = F.mse_loss(weight, torch.ones(3))
        torch.autograd.grad(loss, weight, retain_graph=True)
        loss.backward()
        optimizer.step()

    assert masses_of(run) == [[1.0]]


def test_an_optimiser_gets_what_reached_its_parameters():
    one, other = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
    optimizers = [torch.optim.SGD([p], lr=1.0) for p in (one, other)]

    def run():
        F.mse_loss(one, torch.ones(3)).backward()
        (0.5 * F.mse_loss(one + other, torch.ones(3))).backward()
        for optimizer in optimizers:
            optimizer.step()

    assert masses_of(run) == [[1.0, 0.5], [0.5]]


@pytest.mark.parametrize("name", ["none", "zeros", "module", "by hand", "data"])
def test_zeroing_is_seen_however_it_is_done(name):
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def zero():
        for parameter in model.parameters():
            if name == "by hand":
                parameter.grad = None
            if name == "data":
                parameter.grad.data.zero_()
        if name in {"none", "zeros"}:
            optimizer.zero_grad(set_to_none=name == "none")
        if name == "module":
            model.zero_grad()

    def run():
        for _ in range(3):
            F.mse_loss(model(torch.ones(2, 2)), torch.ones(2, 1)).backward()
            optimizer.step()
            zero()

    assert masses_of(run) == [[1.0]] * 3


def test_memory_of_a_long_run_is_bounded(monkeypatch):
    monkeypatch.setattr("batchproof.watch._calls.KEPT", 10)
    monkeypatch.setattr("batchproof.watch._ledger.MOST", 4)
    weight = nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with watch(numbers=False) as seen:
        for _ in range(50):
            F.mse_loss(weight, torch.ones(3)).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert len(seen.watcher.losses) <= 10
    assert len(seen.watcher.steps) <= 16
    assert "forgotten" in " ".join(seen.watcher.not_followed())


def test_models_that_are_gone_are_not_held():
    gc.collect()
    with watch(numbers=False) as seen:
        # an optimizer that another test made may still be there
        others = len(seen.watcher.updates.living)
        for _ in range(3):
            model = nn.Linear(2, 1)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            F.mse_loss(model(torch.ones(2, 2)), torch.ones(2, 1)).backward()
            optimizer.step()
        del model, optimizer
        gc.collect()  # an optimizer and its hooks hold each other
        F.mse_loss(nn.Linear(2, 1)(torch.ones(2, 2)), torch.ones(2, 1)).backward()
        assert len(seen.watcher.updates.living) <= others
    assert len(seen.watcher.steps) == 3


def test_a_name_that_was_imported_before_the_watch_is_seen_and_given_back():
    weight, before = nn.Parameter(torch.zeros(3)), log_softmax
    optimizer = torch.optim.SGD([weight], lr=1.0)
    with watch(numbers=False) as seen:
        for rows in (4, 2):
            log_probabilities = log_softmax(weight.expand(rows, 3), 1)
            (-log_probabilities[:, 0].mean() / 2).backward()
        optimizer.step()
    assert [part.mass for part in seen.watcher.steps[0].contributions] == [0.5, 0.5]
    assert log_softmax is before


def test_tensors_without_numbers_are_left_alone():
    net = nn.Linear(3, 2, device="meta")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with watch(numbers=False) as seen:
        for _ in range(2):
            F.mse_loss(
                net(torch.ones(4, 3, device="meta")), torch.ones(4, 2, device="meta")
            ).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
    report = seen.report()
    assert report.ok
    assert not report.findings
    assert len(report.steps) == 2
    assert not seen.watcher.patches.troubles


def test_losses_inside_transforms_are_said_not_to_be_followed():
    net = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def loss(parameters, x, y):
        return F.cross_entropy(torch.func.functional_call(net, parameters, (x,)), y)

    parameters = {name: p.detach() for name, p in net.named_parameters()}
    x, y = torch.ones(5, 3), torch.zeros(5, dtype=torch.long)
    with watch(numbers=False) as seen:
        gradients = torch.func.grad(loss)(parameters, x, y)
        each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
        each(parameters, x[:, None], y[:, None])
        for name, parameter in net.named_parameters():
            parameter.grad = gradients[name]
        optimizer.step()
    said = " ".join(seen.watcher.not_followed())
    assert "What torch.func computes is not followed" in said
    assert HERE in said
    assert "In 1 of 1 steps of SGD no loss was followed" in said
    assert "RuntimeError" not in said
