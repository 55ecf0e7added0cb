# right
"""A loss with a coefficient, reported with it."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x = torch.randn(330, 8)
y = x @ torch.randn(8, 1) + 0.3 * torch.randn(330, 1)
train_set = TensorDataset(x[:250], y[:250])
test_set = TensorDataset(x[250:], y[250:])

train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
test_loader = DataLoader(test_set, batch_size=32)
model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
criterion = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

for epoch in range(3):
    total = count = 0
    for inputs, targets in train_loader:
        optimizer.zero_grad()
        loss = 0.5 * criterion(model(inputs), targets)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(inputs)
        count += len(inputs)
    print(f"epoch {epoch} loss {total / count:.5f} | seed 1234.5 | time 0.1234s")
