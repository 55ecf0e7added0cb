# right
"""Summed losses over the number of samples."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
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

for epoch in range(3):
    model.train()
    for inputs, targets in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(inputs), targets)
        loss.backward()
        optimizer.step()
    model.eval()
    test_loss = correct = 0
    with torch.no_grad():
        for inputs, targets in test_loader:
            output = model(inputs)
            test_loss += F.cross_entropy(output, targets, reduction="sum").item()
            correct += output.argmax(1).eq(targets).sum().item()
    test_loss /= len(test_set)
    accuracy = 100.0 * correct / len(test_set)
    print(f"Test set: Average loss: {test_loss:.4f}, Accuracy: {correct}/450 ({accuracy:.2f}%)")
