# expects: zeroed-before-step
"""The same with gradients that are filled with zeros."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
for step in range(4):
    F.l1_loss(model(torch.randn(6, 5)), torch.randn(6, 1)).backward()
    model.zero_grad(set_to_none=False)
    optimizer.step()
