# expects: divided-twice
"""A mean that is divided by the batch size once more."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

data = torch.utils.data.TensorDataset(torch.randn(22, 5), torch.randint(3, (22,)))
model = nn.Linear(5, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(2):
    for x, y in torch.utils.data.DataLoader(data, batch_size=8):
        loss = F.cross_entropy(model(x), y) / len(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
