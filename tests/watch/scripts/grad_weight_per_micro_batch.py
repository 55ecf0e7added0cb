# expects: weight-per-micro-batch
"""Class weights, and means of micro-batches that are averaged."""

import torch
from torch import nn

torch.manual_seed(0)

weights = torch.tensor([1.0, 5.0, 10.0])
criterion = nn.CrossEntropyLoss(weight=weights)
model = nn.Linear(5, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
targets = (torch.tensor([0, 0, 0, 1]), torch.tensor([2, 2, 1, 0]))
for step in range(3):
    optimizer.zero_grad()
    for target in targets:
        loss = criterion(model(torch.randn(4, 5)), target) / len(targets)
        loss.backward()
    optimizer.step()
