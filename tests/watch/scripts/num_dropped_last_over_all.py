# expects: divisor-not-seen
"""A dropped last batch, and the length of the whole data set."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x = torch.randn(330, 8)
y = x @ torch.randn(8, 1) + 0.3 * torch.randn(330, 1)
train_set = TensorDataset(x[:250], y[:250])
test_set = TensorDataset(x[250:], y[250:])

train_loader = DataLoader(train_set, batch_size=32, shuffle=True, drop_last=True)
test_loader = DataLoader(test_set, batch_size=32)
model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
criterion = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

for epoch in range(4):
    total = 0.0
    for inputs, targets in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(inputs), targets)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(inputs)
    print(f"epoch {epoch} train mse {total / len(train_set):.5f}")
