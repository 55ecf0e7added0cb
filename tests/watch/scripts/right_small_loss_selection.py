# right
"""Losses without gradient choose the samples to learn from, in training mode."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Sequential(nn.Linear(5, 16), nn.Dropout(0.5), nn.Linear(16, 3))
optimizer = torch.optim.Adam(model.parameters())
for step in range(5):
    x, y = torch.randn(16, 5), torch.randint(3, (16,))
    with torch.no_grad():
        losses = F.cross_entropy(model(x), y, reduction="none")
    chosen = losses.argsort()[:8]
    optimizer.zero_grad()
    F.cross_entropy(model(x[chosen]), y[chosen]).backward()
    optimizer.step()
