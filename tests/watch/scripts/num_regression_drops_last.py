# expects: samples-left-out
"""The same options for both loaders."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x = torch.randn(330, 8)
y = x @ torch.randn(8, 1) + 0.3 * torch.randn(330, 1)
train_set = TensorDataset(x[:250], y[:250])
test_set = TensorDataset(x[250:], y[250:])

options = {"batch_size": 32, "drop_last": True}
train_loader = DataLoader(train_set, shuffle=True, **options)
test_loader = DataLoader(test_set, **options)
model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
criterion = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

for epoch in range(2):
    model.train()
    for inputs, targets in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(inputs), targets)
        loss.backward()
        optimizer.step()
    model.eval()
    total = count = 0
    with torch.no_grad():
        for inputs, targets in test_loader:
            total += criterion(model(inputs), targets).item() * len(inputs)
            count += len(inputs)
    print(f"epoch {epoch} test loss {total / count:.4f}")
