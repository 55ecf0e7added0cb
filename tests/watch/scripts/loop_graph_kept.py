# expects: graph-kept
"""A running loss that is a tensor with a graph."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
total = 0.0
for step in range(16):
    loss = F.cross_entropy(model(torch.randn(6, 5)), torch.randint(4, (6,)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    total += loss
