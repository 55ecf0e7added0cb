# right
"""Gradients of the input by a backward pass whose parameter gradients are zeroed."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(4):
    x, y = torch.randn(6, 5), torch.randint(4, (6,))
    delta = torch.zeros_like(x, requires_grad=True)
    for _ in range(3):
        F.cross_entropy(model(x + delta), y).backward()
        delta.data += 0.1 * delta.grad.sign()
        delta.grad.zero_()
    optimizer.zero_grad()
    F.cross_entropy(model(x + delta.detach()), y).backward()
    optimizer.step()
