# right
"""Sums over a nominal number of samples, in windows of different sizes."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for micro_batches in (3, 3, 2):
    optimizer.zero_grad()
    for j in range(micro_batches):
        size = 4 + j
        losses = F.mse_loss(model(torch.randn(size, 5)), torch.randn(size, 1), reduction="none")
        (losses.sum() / 12).backward()
    optimizer.step()
