# expects: mean-of-micro-batch-means
"""Gradient accumulation over a loader whose last batch is smaller."""

import torch
from torch import nn

torch.manual_seed(0)

data = torch.utils.data.TensorDataset(torch.randn(30, 5), torch.randn(30, 1))
loader = torch.utils.data.DataLoader(data, batch_size=8)
model = nn.Linear(5, 1)
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
accumulate = 4
for epoch in range(3):
    for i, (x, y) in enumerate(loader):
        loss = criterion(model(x), y) / accumulate
        loss.backward()
        if (i + 1) % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()
