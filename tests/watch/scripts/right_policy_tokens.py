# right
"""Clipped policy losses over the tokens of the window, and over the longest that may be."""

import torch
from torch import nn

torch.manual_seed(0)


def log_probabilities(policy, tokens):
    logits = policy(tokens[:, :-1])
    return logits.gather(2, tokens[:, 1:, None]).squeeze(2) - logits.logsumexp(-1)


for kind in ("tokens", "longest"):
    policy = nn.Sequential(nn.Embedding(9, 16), nn.Linear(16, 9))
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    for step in range(3):
        tokens, lengths = torch.randint(9, (8, 12)), torch.randint(2, 12, (8, 1))
        mask, advantages = torch.arange(11) < lengths, torch.randn(8, 1)
        with torch.no_grad():
            old = log_probabilities(policy, tokens) + 0.2 * torch.randn(8, 11)
        optimizer.zero_grad()
        for i in range(0, 8, 2):
            log_p = log_probabilities(policy, tokens[i : i + 2])
            ratio, a = (log_p - old[i : i + 2]).exp(), advantages[i : i + 2]
            losses = torch.max(-ratio * a, -ratio.clamp(0.8, 1.2) * a)
            away = 0.01 * (log_p - old[i : i + 2]).square()
            whole = mask.sum() if kind == "tokens" else 8 * 11
            (((losses + away) * mask[i : i + 2]).sum() / whole).backward()
        optimizer.step()
