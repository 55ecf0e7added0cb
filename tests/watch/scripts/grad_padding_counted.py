# expects: padding-counted
"""Masked token losses, averaged over all positions."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 9))
optimizer = torch.optim.AdamW(model.parameters())
for step in range(4):
    lengths = torch.randint(2, 8, (4,))
    lengths[0] = 7
    tokens = torch.randint(9, (4, 7))
    mask = torch.arange(7) < lengths[:, None]
    logits = model(tokens)
    losses = F.cross_entropy(logits.transpose(1, 2), tokens.roll(-1, 1), reduction="none")
    loss = (losses * mask).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
