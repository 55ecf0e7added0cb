"""GRPO: a tiny policy learns from rewards a program checks.

    batchproof train grpo_toy  prompts are generated; there are no files

A prompt is one to six digits. Its answer is the largest digit so far, after each of them, and a
stop; the reward is the share of symbols that are right. An advantage compares the answers to one
prompt, so it is computed before they are cut; after it the unit says what a long answer counts.

Expect after 20 epochs, in less than a minute, a reward of 0.99 on prompts that are new.
"""

import copy
from collections.abc import Iterator
from typing import Annotated

import torch
from torch import Tensor, nn

import batchproof as bp
from batchproof import data
from batchproof.recipes import Between, Results, Settings, run

LONGEST, DIGITS, START, STOP, BLANK = 6, 10, 10, 11, 12
ROOM = LONGEST + 2  # an answer that has not stopped by then is cut off
Batch = tuple[Tensor, ...]  # prompts, answers, their old log-probabilities, rewards, advantages


def generated(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return prompts and their solutions, (count, ROOM) each, blank after their end."""
    draw = torch.Generator().manual_seed(seed)
    digits = torch.randint(DIGITS, (count, ROOM), generator=draw)
    lengths, place = torch.randint(1, LONGEST + 1, (count, 1), generator=draw), torch.arange(ROOM)
    solutions = torch.where(place == lengths, STOP, digits.cummax(1).values)
    return digits.where(place < lengths, BLANK), solutions.where(place <= lengths, BLANK)


def reward(answers: Tensor, solutions: Tensor) -> Tensor:
    """Return the share of symbols that are right, of the longer of answer and solution."""
    counts = (answers != BLANK) | (solutions != BLANK)
    return ((answers == solutions) & counts).sum(1) / counts.sum(1)


class Policy(nn.Module):
    """A net that learns, and its copy of a while ago, which writes the answers.

    Checkpoints hold both, so a run that is resumed writes the answers that it would have written.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        both = nn.Embedding(BLANK + 1, width), nn.Flatten(-2), nn.Linear(2 * width, width)
        self.learner = nn.Sequential(*both, nn.ReLU(), nn.Linear(width, STOP + 1))
        self.writer = copy.deepcopy(self.learner).requires_grad_(False)

    def forward(self, prompts: Tensor, answers: Tensor, *, old: bool = False) -> Tensor:
        """Return the log-probability of each symbol of the answers, (answers, ROOM)."""
        last = nn.functional.pad(answers[:, :-1], (1, 0), value=START)
        net = self.writer if old else self.learner
        logs: Tensor = net(torch.stack([prompts, last], -1)).log_softmax(-1)
        return logs.gather(-1, answers.clamp(max=STOP)[..., None])[..., 0]

    def write(self, prompts: Tensor, draw: torch.Generator, *, old: bool) -> Tensor:
        """Return answers that are drawn symbol by symbol, (answers, ROOM)."""
        last, tokens = torch.full_like(prompts[:, 0], START), []
        net = self.writer if old else self.learner
        for symbols in prompts.T:
            chances = net(torch.stack([symbols, last], -1)).softmax(1)
            token = chances.multinomial(1, generator=draw)[:, 0]
            last = torch.where(last >= STOP, BLANK, token)
            tokens.append(last)
        return torch.stack(tokens, 1)


class Rollouts:
    """Micro-batches of answers, several per prompt; one, in an evaluation, is the learner's own."""

    def __init__(self, prompts: data.Batches, policy: Policy, group: int, seed: int) -> None:
        self.prompts, self.policy, self.group, self.seed = prompts, policy, group, seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose answers are drawn next."""
        self.epoch = epoch
        self.prompts.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.prompts) * self.group

    def __iter__(self) -> Iterator[Batch]:
        return self.batches_from(0)

    def batches_from(self, start: int) -> Iterator[Batch]:
        """Return this epoch's micro-batches from the one numbered start on."""
        first, skip = divmod(start, self.group)
        for number, batch in enumerate(self.prompts.batches_from(first), first):
            if self.group > 1 and not skip:
                self.policy.writer.load_state_dict(self.policy.learner.state_dict())
            yield from self.written(batch, self.seed + 10**6 * self.epoch + number)[skip:]
            skip = 0

    @torch.no_grad()
    def written(self, batch: Batch, seed: int) -> list[Batch]:
        """Return answers with their advantages, which are computed by group, and then cut."""
        device = next(self.policy.parameters()).device
        draw = torch.Generator(device).manual_seed(seed)
        prompts, solutions = (c.to(device).repeat_interleave(self.group, 0) for c in batch)
        answers = self.policy.write(prompts, draw, old=self.group > 1)
        old, rewards = self.policy(prompts, answers, old=self.group > 1), reward(answers, solutions)
        group = rewards.view(-1, self.group)
        away = (group - group.mean(1, True)) / (group.std(1, correction=0, keepdim=True) + 1e-4)
        rollout = (prompts, answers, old, rewards, away.flatten() if self.group > 1 else rewards)
        order = torch.randperm(len(prompts), generator=draw, device=device).chunk(self.group)
        return [tuple(column[rows] for column in rollout) for rows in order]


def main(
    settings: Settings = Settings(epochs=20, batch_size=32, accumulate=4, lr=0.003),
    *,
    answers: Annotated[int, Between(2, 64), "answers of a prompt"] = 8,
    unit: Annotated[bp.Unit, "what the loss is a mean of"] = "element",
    clip: Annotated[float, Between(0, 10), "how far a ratio of probabilities counts"] = 0.2,
    width: Annotated[int, Between(1, 4096), "features inside the policy"] = 64,
) -> Results:
    """Train the policy on its own answers, and measure it on prompts that it has not seen."""
    if settings.data is not None:
        raise bp.SettingError(f"data is {settings.data}; expected none: the prompts are generated.")

    def loss(policy: nn.Module, batch: Batch) -> bp.Outcome:
        prompts, symbols, old, rewards, advantage = batch
        ratio, advantage = (policy(prompts, symbols) - old).exp(), advantage[:, None]
        losses = -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
        metrics = {"reward": bp.reduce(rewards), "solved": bp.reduce(rewards == 1)}
        return bp.Outcome(bp.reduce(losses, unit=unit, mask=symbols != BLANK), metrics)

    torch.manual_seed(settings.seed)
    policy = Policy(width)
    train_set, held_out, unseen = (generated(n, seed) for seed, n in enumerate((1024, 512, 2048)))
    train = Rollouts(settings.batches(*train_set, shuffle=True), policy, answers, settings.seed)
    val, test = (Rollouts(settings.batches(*part), policy, 1, 0) for part in (held_out, unseen))
    optimizer = torch.optim.AdamW(policy.learner.parameters(), settings.lr)
    best = {"monitor": "val_reward", "mode": "max"}
    trainer = settings.trainer(policy, loss, optimizer, data="generated", **best)
    history = settings.fit(trainer, train, val)
    estimates = {"validation": trainer.evaluate(val), "test": trainer.evaluate(test)}
    return Results(history, estimates, "generated")


if __name__ == "__main__":
    run(main)
