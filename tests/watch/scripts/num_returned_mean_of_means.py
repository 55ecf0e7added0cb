# expects: mean-of-batch-means
"""An evaluation returns a number that nothing prints: it chooses the weights that are kept."""

import copy

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = nn.Linear(9, 6)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
training = DataLoader(TensorDataset(torch.randn(96, 9), torch.randint(6, (96,))), 16)
validation = DataLoader(TensorDataset(torch.randn(75, 9), torch.randint(6, (75,))), 16)


def evaluate():
    model.eval()
    losses = []
    with torch.no_grad():
        for x, y in validation:
            losses.append(criterion(model(x), y).item())
    return sum(losses) / len(losses)


best, weights = float("inf"), None
for epoch in range(4):
    model.train()
    for x, y in training:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
    value = evaluate()
    if value < best:
        best, weights = value, copy.deepcopy(model.state_dict())
model.load_state_dict(weights)
