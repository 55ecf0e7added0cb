# expects: mean-of-micro-batch-means
"""A clipped policy loss, whose masked mean is taken of each micro-batch of completions."""

import torch
from torch import nn

torch.manual_seed(0)
policy = nn.Sequential(nn.Embedding(9, 16), nn.Linear(16, 9))
optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)


def log_probabilities(tokens):
    rows = policy(tokens[:, :-1]).log_softmax(-1)
    return rows.gather(2, tokens[:, 1:, None]).squeeze(2)


for step in range(3):
    tokens, lengths = torch.randint(9, (8, 12)), torch.randint(2, 12, (8, 1))
    mask, advantages = torch.arange(11) < lengths, torch.randn(8, 1)
    with torch.no_grad():
        old = log_probabilities(tokens) + 0.2 * torch.randn(8, 11)
    optimizer.zero_grad()
    for i in range(0, 8, 2):
        ratio = (log_probabilities(tokens[i : i + 2]) - old[i : i + 2]).exp()
        a = advantages[i : i + 2]
        losses = -torch.min(ratio * a, ratio.clamp(0.8, 1.2) * a)
        m = mask[i : i + 2]
        ((losses * m).sum() / m.sum() / 4).backward()
    optimizer.step()
