# expects: empty-micro-batch-nan
"""Accumulation where the prompt fills one micro-batch whole."""

import torch
from torch import nn

torch.manual_seed(0)

model = nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 9))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(3):
    total = torch.tensor(0.0)
    for micro in range(2):
        labels = torch.randint(9, (2, 5))
        if micro and step == 2:
            labels.fill_(-100)
        logits = model(torch.randint(9, (2, 5)))
        loss = nn.CrossEntropyLoss()(logits.view(-1, 9), labels.view(-1))
        (loss / 2).backward()
    optimizer.step()
    optimizer.zero_grad()
