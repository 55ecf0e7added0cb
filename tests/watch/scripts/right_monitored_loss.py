# right
"""A second loss is watched beside the one that is optimised, and shown by its own name."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
model = nn.Linear(5, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

for step in range(10):
    x = torch.randn(16, 5)
    output = model(x).squeeze(1)
    loss = F.mse_loss(output, x.sum(1))
    absolute = F.l1_loss(output, x.sum(1))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"step {step} loss {loss.item():.5f} absolute error {absolute.item():.5f}")
