# right
"""An evaluation that returns the mean of its samples, in a dict, and batches without a loader."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
model = nn.Linear(9, 6)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
x, y = torch.randn(171, 9), torch.randint(6, (171,))


def evaluate():
    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for start in range(96, 171, 16):
            targets = y[start : start + 16]
            loss = F.cross_entropy(model(x[start : start + 16]), targets, reduction="sum")
            total += loss.item()
            count += len(targets)
    return {"loss": total / count, "samples": count}


best = float("inf")
for epoch in range(4):
    model.train()
    for start in range(0, 96, 16):
        optimizer.zero_grad()
        F.cross_entropy(model(x[start : start + 16]), y[start : start + 16]).backward()
        optimizer.step()
    best = min(best, evaluate()["loss"])
