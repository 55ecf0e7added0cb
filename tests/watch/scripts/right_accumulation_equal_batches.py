# right
"""Micro-batches of one size, divided by their number; the leftover is stepped by its own."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
batches = [(torch.randn(4, 5), torch.randint(3, (4,))) for _ in range(10)]
for epoch in range(2):
    for start in range(0, 10, 4):
        window = batches[start : start + 4]
        optimizer.zero_grad()
        for x, y in window:
            (F.cross_entropy(model(x), y) / len(window)).backward()
        optimizer.step()
