# expects: clipped-per-micro-batch
"""The same with clipping by value."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_value_

torch.manual_seed(0)


model = nn.Linear(5, 1)
optimizer = torch.optim.RMSprop(model.parameters(), lr=0.01)
for step in range(3):
    for _ in range(2):
        (F.mse_loss(model(torch.randn(6, 5)), 9 * torch.ones(6, 1)) / 2).backward()
        clip_grad_value_(model.parameters(), 0.1)
    optimizer.step()
    optimizer.zero_grad()
