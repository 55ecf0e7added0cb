# right
"""Means of micro-batches, each times its share of the window."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(4):
    sizes = (3, 5, 1 + step)
    optimizer.zero_grad()
    for size in sizes:
        loss = F.mse_loss(model(torch.randn(size, 5)), torch.randn(size, 1))
        (loss * size / sum(sizes)).backward()
    optimizer.step()
