# right
"""A loss of one's own, marked, as a mean over the window."""

import torch
from torch import nn

import batchproof as bp

torch.manual_seed(0)


model = nn.Linear(5, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(3):
    sizes = (2, 5)
    optimizer.zero_grad()
    for size in sizes:
        losses = (model(torch.randn(size, 5)) - torch.randn(size, 1)).abs().pow(1.5)
        (bp.watch_loss(losses).sum() / sum(sizes)).backward()
    optimizer.step()
