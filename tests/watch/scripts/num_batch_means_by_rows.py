# expects: wrong-divisor
"""A text in columns, whose batch means are divided by its number of rows."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
letters, length, columns = 25, 7, 4
text = torch.randint(letters, (61, columns))
model = nn.Sequential(nn.Embedding(letters, 10), nn.Linear(10, letters))
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)


def losses(data):
    for start in range(0, len(data) - 1, length):
        rows = min(length, len(data) - 1 - start)
        logits = model(data[start : start + rows]).view(-1, letters)
        yield F.cross_entropy(logits, data[start + 1 : start + 1 + rows].view(-1)), rows


for epoch in range(3):
    for loss, _ in losses(text):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    total = count = 0
    with torch.no_grad():
        for loss, rows in losses(text):
            total += loss.item()
            count += rows
    print(f"end of epoch {epoch} | valid loss {total / count:.5f}")
