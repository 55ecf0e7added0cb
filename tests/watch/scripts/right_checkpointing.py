# right
"""Activations that are computed again in the backward pass, and a micro-batch window."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

torch.manual_seed(0)


body = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 16))
head = nn.Linear(16, 3)
optimizer = torch.optim.SGD([*body.parameters(), *head.parameters()], lr=0.1)
for step in range(3):
    for _ in range(2):
        hidden = checkpoint(body, torch.randn(6, 5), use_reentrant=False)
        (F.cross_entropy(head(hidden), torch.randint(3, (6,))) / 2).backward()
    optimizer.step()
    optimizer.zero_grad()
