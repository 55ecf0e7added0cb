# expects: gradient-of-another-loss
"""Only one of two terms is back-propagated; the average of an epoch is that of both."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(1)
data = TensorDataset(torch.randn(60, 6), torch.randint(3, (60,)))
trunk, head, auxiliary = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 6)
parameters = [*trunk.parameters(), *head.parameters(), *auxiliary.parameters()]
optimizer = torch.optim.Adam(parameters, lr=0.01)

for epoch in range(4):
    total = count = 0
    for x, y in DataLoader(data, 10, shuffle=True):
        features = trunk(x).relu()
        classes = F.cross_entropy(head(features), y)
        rebuilt = F.mse_loss(auxiliary(features), x)
        optimizer.zero_grad()
        classes.backward()
        optimizer.step()
        total += (classes + 0.1 * rebuilt).item() * len(y)
        count += len(y)
    print(f"epoch {epoch}: train loss {total / count:.5f}")
