# expects: first-window-short
"""The step comes when the index divides by the window: after the first micro-batch of an epoch."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(2):
    for i in range(9):
        loss = F.mse_loss(model(torch.randn(4, 5)), torch.randn(4, 2))
        (loss / 4).backward()
        if i % 4 == 0:
            optimizer.step()
            optimizer.zero_grad()
