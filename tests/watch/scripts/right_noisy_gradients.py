# right
"""Noise is added to the gradient of a window."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(4):
    optimizer.zero_grad()
    for _ in range(2):
        (F.cross_entropy(model(torch.randn(6, 5)), torch.randint(3, (6,))) / 2).backward()
    for parameter in model.parameters():
        parameter.grad += 0.01 * torch.randn_like(parameter)
    optimizer.step()
