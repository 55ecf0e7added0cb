# right
"""Sums are back-propagated, and the gradient is divided once, by hand, before it is clipped."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(4):
    optimizer.zero_grad()
    count = 0
    for size in (3, 6 - step):
        x, y = torch.randn(size, 5), torch.randint(3, (size,))
        F.cross_entropy(model(x), y, reduction="sum").backward()
        count += size
    for parameter in model.parameters():
        parameter.grad.data.div_(count)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
