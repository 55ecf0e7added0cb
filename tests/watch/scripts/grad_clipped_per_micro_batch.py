# expects: clipped-per-micro-batch
"""The gradient is clipped after every backward pass of a window."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for i in range(9):
    loss = F.cross_entropy(model(torch.randn(6, 5)), torch.randint(4, (6,))) / 3
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.05)
    if (i + 1) % 3 == 0:
        optimizer.step()
        optimizer.zero_grad()
