# expects: fixed-window-size
"""Gradients divided by the nominal window before each step, by hand."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
accumulate, batches = 3, 7
for epoch in range(2):
    for i in range(batches):
        F.mse_loss(model(torch.randn(4, 5)), torch.randn(4, 2)).backward()
        if (i + 1) % accumulate == 0 or i + 1 == batches:
            for parameter in model.parameters():
                parameter.grad /= accumulate
            optimizer.step()
            optimizer.zero_grad()
