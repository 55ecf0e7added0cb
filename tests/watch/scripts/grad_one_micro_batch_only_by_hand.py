# expects: one-micro-batch-only
"""As above, with gradients set to None by hand."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 1)
optimizer = torch.optim.Adam(model.parameters())
for step in range(4):
    for micro in range(2):
        for parameter in model.parameters():
            parameter.grad = None
        F.l1_loss(model(torch.randn(6, 5)), torch.randn(6, 1)).backward()
    optimizer.step()
