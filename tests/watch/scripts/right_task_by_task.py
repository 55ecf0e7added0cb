# right
"""A backward pass for each task's own head, then one step."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

trunk = nn.Linear(5, 8)
heads = nn.ModuleList(nn.Linear(8, 3) for _ in range(3))
optimizer = torch.optim.SGD([*trunk.parameters(), *heads.parameters()], lr=0.1)
for step in range(4):
    optimizer.zero_grad()
    for head in heads:
        loss = F.cross_entropy(head(trunk(torch.randn(6, 5))), torch.randint(3, (6,)))
        loss.backward()
    optimizer.step()
