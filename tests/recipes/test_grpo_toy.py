import dataclasses

import pytest
import torch

import batchproof as bp
from batchproof import data
from batchproof.recipes import Settings
from batchproof.recipes.grpo_toy import BLANK, STOP, Policy, Rollouts, generated, main, reward

SHORT = Settings(epochs=None, max_steps=6, batch_size=32, accumulate=4, lr=0.003, progress=False)


def row(*symbols: int) -> torch.Tensor:
    return torch.tensor([[*symbols, *[BLANK] * (8 - len(symbols))]])


def test_a_solution_is_the_largest_digit_so_far_and_a_stop():
    prompts, solutions = generated(50, seed=1)
    for prompt, solution in zip(prompts.tolist(), solutions.tolist(), strict=True):
        digits = [digit for digit in prompt if digit != BLANK]
        largest = [max(digits[: i + 1]) for i in range(len(digits))]
        assert solution == row(*largest, STOP)[0].tolist()


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ((3, 7, 7, STOP), 1.0),
        ((3, 7, 5, STOP), 3 / 4),
        ((3, 7, STOP), 2 / 4),
        ((3, 7, 7, 7, STOP), 3 / 5),
        ((STOP,), 0.0),
    ],
)
def test_a_reward_is_the_share_of_right_symbols_of_the_longer_one(answer, share):
    assert reward(row(*answer), row(3, 7, 7, STOP)).item() == pytest.approx(share)


def rollout(answers: int = 4) -> tuple[Policy, list[tuple[torch.Tensor, ...]]]:
    torch.manual_seed(0)
    policy = Policy(8).double()
    prompts = data.Batches(
        torch.arange(5)[:, None].expand(5, 8), *generated(5, 2)[1:], batch_size=5
    )
    return policy, list(Rollouts(prompts, policy, answers, 0))


def test_advantages_compare_the_answers_to_one_prompt_wherever_they_are_cut():
    _, parts = rollout()
    assert len(parts) == 4
    prompts, answers, _, rewards, advantage = map(torch.cat, zip(*parts, strict=True))
    assert len(answers.unique(dim=0)) > 5
    for first in range(5):
        group = prompts[:, 0] == first
        assert int(group.sum()) == 4
        assert advantage[group].sum().item() == pytest.approx(0, abs=1e-5)
        best = rewards[group].argmax()
        assert advantage[group].argmax() == best


def test_an_answer_is_blank_after_its_stop_and_nowhere_before():
    _, parts = rollout()
    answers = torch.cat([part[1] for part in parts])
    ended = ((answers == STOP).cumsum(1) - (answers == STOP).int()) > 0
    assert torch.equal(ended, answers == BLANK)


def losses_of(policy, batch, unit, clip=0.2):
    prompts, answers, old, _, advantage = batch
    ratio, advantage = (policy(prompts, answers) - old).exp(), advantage[:, None]
    losses = -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
    return bp.reduce(losses, unit=unit, mask=answers != BLANK)


@pytest.mark.parametrize("unit", ["element", "sample", "sample-sum"])
def test_micro_batches_of_a_rollout_have_the_gradient_of_the_whole(unit):
    policy, parts = rollout()
    whole = tuple(map(torch.cat, zip(*parts, strict=True)))
    gradients = []
    for window in (parts, [whole]):
        optimizer = torch.optim.SGD(policy.learner.parameters(), lr=0.0)
        bp.Step(policy, optimizer)(window, lambda policy, batch: losses_of(policy, batch, unit))
        gradients.append([p.grad.clone() for p in policy.learner.parameters()])
    for cut, uncut in zip(*gradients, strict=True):
        torch.testing.assert_close(cut, uncut, rtol=1e-10, atol=1e-12)


def test_answers_are_written_by_the_learner_as_it_was_when_their_prompts_were_drawn():
    policy = rollout()[0]
    prompts = data.Batches(*generated(4, 0), batch_size=2)
    drawn = iter(Rollouts(prompts, policy, 4, 0))
    parts = [next(drawn)]
    with torch.no_grad():
        policy.learner[0].weight.mul_(1.5)
    parts += list(drawn)
    away = [(policy(part[0], part[1]) - part[2]).abs().max().item() for part in parts]
    # the first rollout of four micro-batches is the old learner's, the second the new one's
    assert min(away[:4]) > 1e-3
    assert max(away[4:]) < 1e-12


def test_a_run_that_stopped_within_a_rollout_resumes_with_its_answers(tmp_path):
    whole = main(dataclasses.replace(SHORT, out=tmp_path / "whole"))
    stopped = dataclasses.replace(SHORT, out=tmp_path / "part", max_steps=3)
    main(stopped)
    again = main(dataclasses.replace(SHORT, out=tmp_path / "part", resume=True))
    assert again.estimates["test"].value == whole.estimates["test"].value
    logs = [(tmp_path / run / "metrics.jsonl").read_text() for run in ("whole", "part")]
    assert logs[0].splitlines()[-1] == logs[1].splitlines()[-1]


def test_the_policy_learns_the_task():
    settings = dataclasses.replace(SHORT, max_steps=None, epochs=3)
    found = main(settings).estimates["test"].metrics
    assert found["reward"].value > 0.95
    assert found["solved"].value > 0.85


def test_a_data_folder_is_refused(tmp_path):
    with pytest.raises(bp.SettingError, match="expected none: the prompts are generated"):
        main(dataclasses.replace(SHORT, data=tmp_path))
