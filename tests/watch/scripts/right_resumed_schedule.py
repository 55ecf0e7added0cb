# right
"""A schedule that catches up with a run that is resumed."""

import warnings

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)


warnings.simplefilter("ignore")
model = nn.Linear(5, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
for _ in range(3):
    scheduler.step()
for epoch in range(3, 6):
    for _ in range(2):
        optimizer.zero_grad()
        F.mse_loss(model(torch.randn(6, 5)), torch.randn(6, 1)).backward()
        optimizer.step()
    scheduler.step()
