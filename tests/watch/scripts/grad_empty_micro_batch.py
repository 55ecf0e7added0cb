# expects: empty-micro-batch-nan
"""A micro-batch in which every target is ignored."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(3):
    target = torch.randint(4, (6,))
    if step == 1:
        target[:] = -100
    loss = F.cross_entropy(model(torch.randn(6, 5)), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
