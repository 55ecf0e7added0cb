# right
"""A penalty on the gradient with respect to the input."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

critic = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.Adam(critic.parameters())
for step in range(4):
    x = torch.randn(6, 5, requires_grad=True)
    output = critic(x)
    loss = F.mse_loss(output, torch.ones(6, 1))
    (slope,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    penalty = ((slope.norm(dim=1) - 1) ** 2).mean()
    optimizer.zero_grad()
    (loss + 10 * penalty).backward()
    optimizer.step()
