# expects: divided-twice
"""The loss of a micro-batch is divided by the window where it is made, and where it is used."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
window = 4


def objective(x, y):
    return F.smooth_l1_loss(model(x), y) / window


for step in range(3):
    optimizer.zero_grad()
    for _ in range(window):
        (objective(torch.randn(4, 8), torch.randn(4, 1)) / window).backward()
    optimizer.step()
