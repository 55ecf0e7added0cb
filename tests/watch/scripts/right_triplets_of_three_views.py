# right
"""Triplets, and a classification of three views by one helper, in windows of two batches."""

import torch
import torch.nn as nn

torch.manual_seed(0)
net, head = nn.Linear(6, 8), nn.Linear(8, 5)
opt = torch.optim.SGD([*net.parameters(), *head.parameters()], 0.05)
tri, ce = nn.TripletMarginLoss(), nn.CrossEntropyLoss()


def cls(z, y):
    return ce(head(z), y)


for i in range(10):
    a, p, n = (net(torch.randn(6, 6)) for _ in range(3))
    ya, yn = torch.randint(5, (6,)), torch.randint(5, (6,))
    loss = tri(a, p, n) + 0.2 * sum(cls(z, y) for z, y in ((a, ya), (p, ya), (n, yn))) / 3
    (loss / 2).backward()
    if i % 2:
        opt.step()
        opt.zero_grad()
