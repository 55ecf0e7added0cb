# expects: zeroed-before-step
"""zero_grad stands between the backward pass and the step."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(4):
    loss = F.cross_entropy(model(torch.randn(6, 5)), torch.randint(4, (6,)))
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()
