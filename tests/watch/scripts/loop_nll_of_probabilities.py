# expects: nll-without-log-softmax
"""The negative log-likelihood of probabilities."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Sequential(nn.Linear(5, 4), nn.Softmax(dim=-1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(4):
    loss = F.nll_loss(model(torch.randn(16, 5)), torch.randint(4, (16,)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
