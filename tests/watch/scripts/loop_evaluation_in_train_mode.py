# expects: evaluation-in-train-mode
"""An evaluation with dropout at work."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
batches = [(torch.randn(6, 5), torch.randint(4, (6,))) for _ in range(4)]
for epoch in range(2):
    model.train()
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    with torch.no_grad():
        validation = sum(F.cross_entropy(model(x), y, reduction="sum") for x, y in batches)
