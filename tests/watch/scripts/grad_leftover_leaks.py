# expects: leftover-window
"""The micro-batches after the last full window enter the first window of the next epoch."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(2):
    for i in range(10):
        loss = F.cross_entropy(model(torch.randn(6, 5)), torch.randint(4, (6,)))
        (loss / 4).backward()
        if (i + 1) % 4 == 0:
            optimizer.step()
            optimizer.zero_grad()
