# expects: term-scaled-apart
"""The main loss is divided by the window, the auxiliary one is not."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

trunk, head, aside = nn.Linear(5, 8), nn.Linear(8, 3), nn.Linear(8, 5)
parameters = [*trunk.parameters(), *head.parameters(), *aside.parameters()]
optimizer = torch.optim.SGD(parameters, lr=0.1)
window = 4
for step in range(3):
    optimizer.zero_grad()
    for _ in range(window):
        x, y = torch.randn(6, 5), torch.randint(3, (6,))
        hidden = trunk(x).relu()
        loss = F.cross_entropy(head(hidden), y) / window
        auxiliary = F.mse_loss(aside(hidden), x)
        (loss + auxiliary).backward()
    optimizer.step()
