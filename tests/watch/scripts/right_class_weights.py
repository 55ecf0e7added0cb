# right
"""Class weights, one batch a step."""

import torch
from torch import nn

torch.manual_seed(0)

criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0, 9.0]), label_smoothing=0.1)
model = nn.Linear(5, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(5):
    loss = criterion(model(torch.randn(8, 5)), torch.randint(3, (8,)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
