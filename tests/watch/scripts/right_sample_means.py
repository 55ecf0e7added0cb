# right
"""The mean over samples of their own token means."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 9))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(3):
    optimizer.zero_grad()
    for micro in range(2):
        tokens = torch.randint(9, (4, 7))
        mask = (torch.arange(7) < torch.randint(1, 8, (4, 1))).float()
        losses = F.cross_entropy(model(tokens).transpose(1, 2), tokens, reduction="none")
        means = (losses * mask).sum(1) / mask.sum(1)
        (means.mean() / 2).backward()
    optimizer.step()
