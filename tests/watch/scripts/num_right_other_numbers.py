# right
"""Norms, rates, times and draws that have nothing to do with the loss."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
images, labels = load_digits(return_X_y=True)
x = torch.tensor(images, dtype=torch.float32) / 16
y = torch.tensor(labels)
train_set = TensorDataset(x[:1000], y[:1000])
test_set = TensorDataset(x[1000:1450], y[1000:1450])

train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
test_loader = DataLoader(test_set, batch_size=64)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)

for epoch in range(5):
    total = 0.0
    for inputs, targets in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(inputs), targets)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(inputs)
    norm = sum(p.grad.pow(2).sum() for p in model.parameters()).sqrt().item()
    weight = next(model.parameters()).abs().mean().item()
    print(
        f"{epoch} {total / len(train_set):.4f} {norm:.4f} {weight:.4f} {torch.rand(1).item():.4f}"
    )
