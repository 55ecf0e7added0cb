# expects: graph-kept
"""A list of losses."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 1)
optimizer = torch.optim.Adam(model.parameters())
history = []
for step in range(12):
    loss = F.mse_loss(model(torch.randn(6, 5)), torch.randn(6, 1))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    history.append(loss)
