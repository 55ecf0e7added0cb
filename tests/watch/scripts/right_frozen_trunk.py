# right
"""Two optimisers; the trunk is frozen at first."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

trunk, head = nn.Linear(5, 8), nn.Linear(8, 3)
of_trunk = torch.optim.SGD(trunk.parameters(), lr=0.01)
of_head = torch.optim.SGD(head.parameters(), lr=0.1)
trunk.requires_grad_(False)
for step in range(6):
    if step == 3:
        trunk.requires_grad_(True)
    loss = F.cross_entropy(head(trunk(torch.randn(6, 5)).relu()), torch.randint(3, (6,)))
    of_trunk.zero_grad()
    of_head.zero_grad()
    loss.backward()
    of_head.step()
    of_trunk.step()
