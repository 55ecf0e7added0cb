# expects: best-by-reference
"""The best of several is kept as it moves, and loaded into a new model at the end."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)


def network():
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))


model = network()
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
best = None
for epoch in range(5):
    F.cross_entropy(model(torch.randn(6, 5)), torch.randint(3, (6,))).backward()
    optimizer.step()
    optimizer.zero_grad()
    if epoch in (0, 2):
        best = model.state_dict()
final = network()
final.load_state_dict(best)
