# expects: evaluation-with-grad
"""The same, adding tensors up."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 1)
optimizer = torch.optim.Adam(model.parameters())
for epoch in range(2):
    for _ in range(3):
        optimizer.zero_grad()
        F.mse_loss(model(torch.randn(6, 5)), torch.randn(6, 1)).backward()
        optimizer.step()
    model.eval()
    total = 0.0
    for _ in range(3):
        total += F.mse_loss(model(torch.randn(6, 5)), torch.randn(6, 1)).detach()
    model.train()
