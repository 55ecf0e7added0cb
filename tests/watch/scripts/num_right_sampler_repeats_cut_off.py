# right
"""A sampler repeats samples to fill its ranks, and the script leaves the copies out of its mean."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

torch.manual_seed(0)
x = torch.randn(331, 8)
y = x @ torch.randn(8, 1) + 0.3 * torch.randn(331, 1)
train_set = TensorDataset(x[:250], y[:250])
test_set = TensorDataset(x[250:], y[250:])

train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
ranks, rank = 4, 3
sampler = DistributedSampler(test_set, num_replicas=ranks, rank=rank, shuffle=False)
test_loader = DataLoader(test_set, batch_size=8, sampler=sampler)
own = len(range(rank, len(test_set), ranks))  # those that are no copies
model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

for epoch in range(2):
    model.train()
    for inputs, targets in train_loader:
        optimizer.zero_grad()
        F.mse_loss(model(inputs), targets).backward()
        optimizer.step()
    model.eval()
    losses = []
    with torch.no_grad():
        for inputs, targets in test_loader:
            losses.append(F.mse_loss(model(inputs), targets, reduction="none"))
    losses = torch.cat(losses)[:own]
    print(f"epoch {epoch} test loss {losses.mean().item():.5f}")
