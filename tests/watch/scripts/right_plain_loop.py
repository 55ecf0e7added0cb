# right
"""One batch a step, of different sizes."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

data = torch.utils.data.TensorDataset(torch.randn(30, 5), torch.randint(3, (30,)))
loader = torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)
model = nn.Sequential(nn.Linear(5, 16), nn.Dropout(0.2), nn.Linear(16, 3))
optimizer = torch.optim.Adam(model.parameters())
for epoch in range(3):
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        total = sum(F.cross_entropy(model(x), y, reduction="sum") for x, y in loader)
