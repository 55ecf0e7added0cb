# right
"""A closure with several micro-batches."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def closure():
    optimizer.zero_grad()
    total = 0.0
    for _ in range(3):
        loss = F.mse_loss(model(torch.randn(4, 5)), torch.randn(4, 1)) / 3
        loss.backward()
        total += loss.item()
    return total


for step in range(4):
    optimizer.step(closure)
