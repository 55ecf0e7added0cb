# expects: gradient-of-another-loss
"""A term that is detached by mistake moves the number that is printed, and no weight."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
model = nn.Linear(5, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

for step in range(10):
    x = torch.randn(16, 5)
    output = model(x)
    error = F.mse_loss(output[:, 0], x.sum(1))
    beside = F.smooth_l1_loss(output[:, 1], x[:, 0]).detach()
    loss = error + 0.5 * beside
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"step {step} loss {loss.item():.5f}")
