# right
"""Terms weighted by learned uncertainties."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 4)
log_variance = nn.Parameter(torch.zeros(2))
optimizer = torch.optim.Adam([*model.parameters(), log_variance], lr=0.1)
for step in range(5):
    output = model(torch.randn(6, 5))
    first = F.mse_loss(output[:, :1], torch.randn(6, 1))
    second = F.cross_entropy(output[:, 1:], torch.randint(3, (6,)))
    loss = (torch.stack([first, second]) * (-log_variance).exp() + log_variance).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
