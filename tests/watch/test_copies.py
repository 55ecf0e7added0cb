"""Copies of the weights that move toward them, and what only looks like it."""

import copy
import gc

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

import batchproof as bp
from batchproof.watch._copies import is_toward, places_of


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999, 0.9999])
def test_an_average_in_float32_is_on_the_line(decay):
    torch.manual_seed(0)
    mean, parameter = torch.randn(400) / 10, torch.randn(400) / 10
    assert is_toward(mean, decay * mean + (1 - decay) * parameter, parameter)


def test_what_moves_elsewhere_is_no_average():
    torch.manual_seed(0)
    mean, parameter, noise = torch.randn(3, 400)
    assert not is_toward(mean, mean, parameter)
    assert not is_toward(mean, mean + 0.01 * noise, parameter)
    assert not is_toward(mean, mean - 0.1 * (parameter - mean), parameter)
    assert not is_toward(mean, mean + 1.5 * (parameter - mean), parameter)


def trained(*, accumulate, move_each, zero=True):
    """Train a model and its average, and return the names that a run shows."""
    torch.manual_seed(0)
    model = nn.Linear(20, 5)
    average = copy.deepcopy(model).requires_grad_(requires_grad=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with bp.watch() as seen:
        for number in range(1, 25):
            loss = F.mse_loss(model(torch.randn(8, 20)), torch.zeros(8, 5))
            (loss / accumulate).backward()
            if number % accumulate == 0:
                optimizer.step()
                if zero:
                    optimizer.zero_grad()
            if move_each or number % accumulate == 0:
                with torch.no_grad():
                    average.weight.lerp_(model.weight, 0.01)
                    average.bias.lerp_(model.bias, 0.01)
    return [finding.name for finding in seen.report().findings]


def test_an_average_that_moves_with_every_micro_batch_is_named():
    assert trained(accumulate=3, move_each=True) == ["state-moved-per-micro-batch"]


@pytest.mark.parametrize(("accumulate", "move_each"), [(3, False), (1, True)])
def test_an_average_that_moves_with_every_step_is_right(accumulate, move_each):
    assert trained(accumulate=accumulate, move_each=move_each) == []


def test_a_target_that_follows_a_critic_between_two_optimisers_is_right():
    torch.manual_seed(0)
    actor, critic = nn.Linear(6, 2), nn.Linear(8, 1)
    target = copy.deepcopy(critic)
    of_actor = torch.optim.Adam(actor.parameters(), lr=1e-2)
    of_critic = torch.optim.Adam(critic.parameters(), lr=1e-2)
    with bp.watch() as seen:
        for _ in range(12):
            state, action = torch.randn(16, 6), torch.randn(16, 2)
            with torch.no_grad():
                wanted = torch.randn(16, 1) + target(torch.cat([state, action], 1))
            of_critic.zero_grad()
            F.mse_loss(critic(torch.cat([state, action], 1)), wanted).backward()
            of_critic.step()
            of_actor.zero_grad()
            (-critic(torch.cat([state, actor(state)], 1)).mean()).backward()
            of_actor.step()
            with torch.no_grad():
                for mean, parameter in zip(target.parameters(), critic.parameters(), strict=True):
                    mean.mul_(0.99).add_(0.01 * parameter)
    assert seen.report().findings == ()


def test_an_end_before_the_run_is_told():
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with bp.watch(steps=1) as seen:
        for _ in range(3):
            F.cross_entropy(model(torch.ones(4, 3)), torch.zeros(4, dtype=torch.int64)).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert "Watching stopped after step 1; what came later was not seen." in str(seen.report())


# no other tensor of the process has it
SHAPE = (7, 11, 3)


def test_tensors_without_numbers_are_no_copies():
    parameter = torch.nn.Parameter(torch.ones(SHAPE))
    average = {"head": torch.full(SHAPE, 0.5)}
    with FakeTensorMode():
        fake = {"head": torch.ones(SHAPE)}
    sparse = {"head": torch.ones(SHAPE).to_sparse()}
    containers = [container for container, _ in places_of(parameter, ())]
    assert any(container is average for container in containers)
    assert not any(container is fake or container is sparse for container in containers)
    assert not places_of(fake["head"], ())


def test_a_copy_is_found_however_old_its_container_is():
    parameter = nn.Parameter(torch.randn(19, 3))
    average = {"w": 0.9 * parameter.detach()}
    gc.collect()
    ((container, key),) = places_of(parameter, ())
    assert container is average
    assert key == "w"
