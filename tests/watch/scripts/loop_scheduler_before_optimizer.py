# expects: scheduler-before-optimizer
"""The schedule steps first, at every batch."""

import warnings

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)


warnings.simplefilter("ignore")
model = nn.Linear(5, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
for step in range(8):
    loss = F.cross_entropy(model(torch.randn(6, 5)), torch.randint(4, (6,)))
    optimizer.zero_grad()
    loss.backward()
    scheduler.step()
    optimizer.step()
