# expects: scheduler-before-optimizer
"""The schedule steps at the beginning of every epoch."""

import warnings

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)


warnings.simplefilter("ignore")
model = nn.Linear(5, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
for epoch in range(3):
    scheduler.step()
    for step in range(3):
        loss = F.cross_entropy(model(torch.randn(6, 5)), torch.randint(4, (6,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
