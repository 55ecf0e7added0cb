# expects: scaled-loss-reported
"""An epoch's mean of losses that were divided before."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x = torch.randn(330, 8)
y = x @ torch.randn(8, 1) + 0.3 * torch.randn(330, 1)
train_set = TensorDataset(x[:250], y[:250])
test_set = TensorDataset(x[250:], y[250:])

train_loader = DataLoader(train_set, batch_size=25, shuffle=True)
test_loader = DataLoader(test_set, batch_size=32)
model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
criterion = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

accumulation_steps = 5
for epoch in range(3):
    total = 0.0
    for i, (inputs, targets) in enumerate(train_loader):
        loss = criterion(model(inputs), targets) / accumulation_steps
        loss.backward()
        if (i + 1) % accumulation_steps == 0:
            optimizer.step()
            optimizer.zero_grad()
        total += loss.item()
    print(f"epoch {epoch} train loss {total / len(train_loader):.6f}")
