# expects: padding-counted
"""Losses that are 0 at ignored targets, averaged over all of them."""

import torch
from torch import nn

torch.manual_seed(0)

criterion = nn.CrossEntropyLoss(reduction="none", ignore_index=0)
model = nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 9))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(4):
    tokens = torch.randint(1, 9, (4, 7))
    targets = tokens.roll(-1, 1)
    targets[1:, 3 + step % 3 :] = 0
    loss = criterion(model(tokens).view(-1, 9), targets.view(-1)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
