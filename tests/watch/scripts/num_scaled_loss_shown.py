# expects: scaled-loss-reported
"""The loss after its division by the accumulation steps."""

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

train_loader = DataLoader(train_set, batch_size=50, shuffle=True)
test_loader = DataLoader(test_set, batch_size=64)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)

accumulation_steps = 4
for epoch in range(2):
    for i, (inputs, targets) in enumerate(train_loader):
        loss = criterion(model(inputs), targets) / accumulation_steps
        loss.backward()
        if (i + 1) % accumulation_steps == 0:
            optimizer.step()
            optimizer.zero_grad()
        if i % 4 == 3:
            print(f"epoch {epoch} step {i} loss {loss.item():.4f}")
