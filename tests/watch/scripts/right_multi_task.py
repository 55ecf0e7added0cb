# right
"""Three terms with weights of their own, in one backward pass."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

trunk = nn.Linear(5, 8)
heads = nn.ModuleDict(
    {"class": nn.Linear(8, 3), "value": nn.Linear(8, 1), "again": nn.Linear(8, 5)}
)
optimizer = torch.optim.Adam([*trunk.parameters(), *heads.parameters()])
for step in range(4):
    x = torch.randn(6, 5)
    hidden = trunk(x).tanh()
    loss = (
        F.cross_entropy(heads["class"](hidden), torch.randint(3, (6,)))
        + 0.5 * F.mse_loss(heads["value"](hidden), torch.randn(6, 1))
        + 0.01 * F.l1_loss(heads["again"](hidden), x)
    )
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
