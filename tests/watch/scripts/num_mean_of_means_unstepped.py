# expects: leftover-window, mean-of-batch-means
"""The micro-batches that are never stepped are in the mean of batch means all the same."""

import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(105, 8)
y = (x[:, :3] + torch.randn(105, 3)).argmax(1)
batches = list(zip(x.split(10), y.split(10), strict=True))
model, criterion = nn.Linear(8, 3), nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def train_one_epoch():
    running = 0.0
    for i, (inputs, targets) in enumerate(batches):
        loss = criterion(model(inputs), targets) / 4
        loss.backward()
        running += loss.item() * 4
        if (i + 1) % 4 == 0:
            optimizer.step()
            optimizer.zero_grad()
    print(f"loss {running / len(batches):.5f}")


for epoch in range(3):
    train_one_epoch()
