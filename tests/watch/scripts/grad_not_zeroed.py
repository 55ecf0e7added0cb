# expects: gradients-not-zeroed
"""Gradients are never zeroed."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(6):
    loss = F.cross_entropy(model(torch.randn(6, 5)), torch.randint(4, (6,)))
    loss.backward()
    optimizer.step()
