# expects: mean-of-batch-means
"""A meter that is not told the size of each batch: one mistake, beside the last value."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
images, labels = load_digits(return_X_y=True)
x = torch.tensor(images, dtype=torch.float32) / 16
y = torch.tensor(labels)
train_loader = DataLoader(TensorDataset(x[:640], y[:640]), batch_size=64, shuffle=True)
test_loader = DataLoader(TensorDataset(x[1000:1450], y[1000:1450]), batch_size=64)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


class Meter:
    def __init__(self, name):
        self.name, self.value, self.sum, self.count = name, 0.0, 0.0, 0

    def update(self, value, count=1):
        self.value, self.sum, self.count = value, self.sum + value * count, self.count + count

    def __str__(self):
        return f"{self.name} {self.value:.4e} ({self.sum / self.count:.4e})"


for _ in range(4):
    for inputs, targets in train_loader:
        optimizer.zero_grad()
        criterion(model(inputs), targets).backward()
        optimizer.step()
    losses, accuracy = Meter("Loss"), Meter("Acc@1")
    with torch.no_grad():
        for inputs, targets in test_loader:
            logits = model(inputs)
            losses.update(criterion(logits, targets).item())
            right = 100 * logits.argmax(1).eq(targets).double().mean().item()
            accuracy.update(right)
    print(" * ", losses, accuracy)
