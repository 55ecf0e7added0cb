# right
"""One target, several outputs, one line."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

stem = nn.Linear(5, 8)
exits = nn.ModuleList(nn.Linear(8, 3) for _ in range(3))
optimizer = torch.optim.SGD([*stem.parameters(), *exits.parameters()], lr=0.1)
for step in range(4):
    hidden, y = stem(torch.randn(6, 5)), torch.randint(3, (6,))
    loss = sum(
        weight * F.cross_entropy(e(hidden), y)
        for e, weight in zip(exits, (0.3, 0.3, 1), strict=True)
    )
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
