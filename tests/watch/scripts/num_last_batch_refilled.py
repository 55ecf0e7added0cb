# expects: duplicated-samples
"""A batch sampler fills the last batch of the evaluation with samples from the front."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class FullBatches:
    """Batches of one size: what the last one lacks comes from the front."""

    def __init__(self, samples, size):
        self.samples, self.size = samples, size

    def __len__(self):
        return (self.samples + self.size - 1) // self.size

    def __iter__(self):
        for start in range(0, self.samples, self.size):
            yield [index % self.samples for index in range(start, start + self.size)]


torch.manual_seed(0)
images, labels = load_digits(return_X_y=True)
x = torch.tensor(images, dtype=torch.float32) / 16
y = torch.tensor(labels)
train_set = TensorDataset(x[:1000], y[:1000])
test_set = TensorDataset(x[1000:1450], y[1000:1450])
train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
test_loader = DataLoader(test_set, batch_sampler=FullBatches(450, 64))
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)

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
