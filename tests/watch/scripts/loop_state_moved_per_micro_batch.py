# expects: state-moved-per-micro-batch
"""The schedule moves with every micro-batch."""

import warnings

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)


warnings.simplefilter("ignore")
model = nn.Linear(5, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, total_iters=20)
for i in range(16):
    loss = F.cross_entropy(model(torch.randn(6, 5)), torch.randint(4, (6,))) / 4
    loss.backward()
    if (i + 1) % 4 == 0:
        optimizer.step()
        optimizer.zero_grad()
    scheduler.step()
