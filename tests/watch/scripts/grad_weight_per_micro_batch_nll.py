# expects: weight-per-micro-batch
"""The same with the negative log-likelihood."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

weights = torch.tensor([0.2, 0.8])
model = nn.Sequential(nn.Linear(5, 2), nn.LogSoftmax(dim=1))
optimizer = torch.optim.AdamW(model.parameters())
for i, ones in enumerate((0, 3, 1, 2, 4, 1)):
    target = (torch.arange(6) < ones).long()
    (0.5 * F.nll_loss(model(torch.randn(6, 5)), target, weight=weights)).backward()
    if i % 2 == 1:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
