# right
"""Sums, never divided: every sample counts 1 in every step."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
for step in range(4):
    optimizer.zero_grad()
    for size in (3, 5):
        x, y = torch.randn(size, 5), torch.randint(3, (size,))
        F.cross_entropy(model(x), y, reduction="sum").backward()
    optimizer.step()
