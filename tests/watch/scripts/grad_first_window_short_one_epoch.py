# expects: first-window-short, leftover-window
"""One epoch; the first window holds one micro-batch, and two at the end are never stepped."""

import torch
from torch import nn

torch.manual_seed(0)

model = nn.Linear(5, 4)
optimizer = torch.optim.Adam(model.parameters())
for i in range(12):
    loss = nn.CrossEntropyLoss()(model(torch.randn(6, 5)), torch.randint(4, (6,)))
    (loss / 3).backward()
    if i % 3 == 0:
        optimizer.step()
        optimizer.zero_grad()
