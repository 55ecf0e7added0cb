# expects: one-micro-batch-only
"""The gradients are zeroed before every backward pass, and stepped every fourth."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for i in range(12):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(torch.randn(6, 5)), torch.randint(4, (6,))) / 4
    loss.backward()
    if (i + 1) % 4 == 0:
        optimizer.step()
