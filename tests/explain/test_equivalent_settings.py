import itertools

import pytest
import torch

import batchproof as bp

OLD = {"lr": 0.05, "weight_decay": 0.1}
BUILD = {
    "sgd": lambda p, s: torch.optim.SGD(p, lr=s.lr, weight_decay=s.weight_decay),
    "momentum": lambda p, s: torch.optim.SGD(
        p, lr=s.lr, weight_decay=s.weight_decay, momentum=0.9, nesterov=True
    ),
    "adam": lambda p, s: torch.optim.Adam(
        p, lr=s.lr, weight_decay=s.weight_decay, eps=s.eps, amsgrad=True
    ),
    "adamw": lambda p, s: torch.optim.AdamW(p, lr=s.lr, weight_decay=s.weight_decay, eps=s.eps),
}


def _clip(parameters, most):
    """Clip as the formula says, without the 1e-6 that clip_grad_norm_ adds to the norm."""
    if most is None:
        return
    norm = torch.sqrt(sum((p.grad**2).sum() for p in parameters))
    for p in parameters:
        p.grad.mul_(min(1.0, most / norm.item()))


def _trajectory(name, settings, factor):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))
    model.double()
    data = torch.randn(30, 6, 4, dtype=torch.float64)
    parameters = list(model.parameters())
    optimizer = BUILD[name](parameters, settings)
    path = []
    for x in data:
        optimizer.zero_grad()
        loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
        (factor * loss).backward()
        _clip(parameters, settings.max_grad_norm)
        optimizer.step()
        path.append(torch.cat([p.detach().flatten() for p in parameters]))
    return torch.stack(path)


@pytest.mark.parametrize("name", BUILD)
@pytest.mark.parametrize("factor", [32.0, 1 / 3, 1e-4])
@pytest.mark.parametrize("clip", [None, 0.7])
def test_torch_takes_the_same_path_when_the_loss_is_multiplied(name, factor, clip):
    eps = 1e-2  # large enough that an eps which does not scale shows
    plain = bp.equivalent_settings(name, factor=1.0, eps=eps, max_grad_norm=clip, **OLD)
    scaled = bp.equivalent_settings(name, factor=factor, eps=eps, max_grad_norm=clip, **OLD)
    first, second = _trajectory(name, plain, 1.0), _trajectory(name, scaled, factor)
    assert torch.allclose(first, second, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        (name, field)
        for name, field in itertools.product(BUILD, ("lr", "weight_decay", "eps", "max_grad_norm"))
        if not (name in ("adam", "adamw") and field == "lr")
        and not (name == "adamw" and field == "weight_decay")
        and not (name in ("sgd", "momentum") and field == "eps")
    ],
)
def test_every_setting_that_changes_must_change(name, field):
    """Leaving any one of them as it was parts the paths."""
    from dataclasses import replace

    given = {"eps": 1e-2, "max_grad_norm": 0.7, **OLD}
    plain = bp.equivalent_settings(name, factor=1.0, **given)
    scaled = bp.equivalent_settings(name, factor=8.0, **given)
    assert getattr(plain, field) != getattr(scaled, field)
    half_done = replace(scaled, **{field: getattr(plain, field)})
    apart = (_trajectory(name, plain, 1.0) - _trajectory(name, half_done, 8.0)).abs().max()
    assert apart > 1e-4


def test_a_factor_of_one_changes_nothing():
    kept = bp.equivalent_settings("adam", factor=1.0, lr=0.1, weight_decay=0.2, max_grad_norm=3.0)
    assert (kept.lr, kept.weight_decay, kept.eps, kept.max_grad_norm) == (0.1, 0.2, 1e-8, 3.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factor": 0.0, "lr": 0.1}, "factor is 0.0; expected a finite number above 0"),
        ({"factor": float("inf"), "lr": 0.1}, "factor is inf"),
        ({"factor": 2.0, "lr": -0.1}, "lr is -0.1"),
        ({"factor": 2.0, "lr": 0.1, "weight_decay": -1.0}, "weight_decay is -1.0; expected 0"),
        ({"factor": 2.0, "lr": 0.1, "max_grad_norm": 0.0}, "max_grad_norm is 0.0"),
    ],
)
def test_settings_that_are_invalid_are_refused(options, message):
    with pytest.raises(bp.SettingError, match=message):
        bp.equivalent_settings("sgd", **options)


def test_an_unknown_optimizer_is_refused(unchecked):
    with pytest.raises(bp.SettingError, match="'lion'; expected one of sgd, momentum, adam, adamw"):
        bp.equivalent_settings("lion", factor=2.0, lr=0.1)
