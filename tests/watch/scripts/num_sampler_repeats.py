# expects: duplicated-samples
"""An evaluation under a DistributedSampler that fills its ranks."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

torch.manual_seed(0)
images, labels = load_digits(return_X_y=True)
x = torch.tensor(images, dtype=torch.float32) / 16
y = torch.tensor(labels)
train_set = TensorDataset(x[:1000], y[:1000])
test_set = TensorDataset(x[1000:1450], y[1000:1450])

train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
sampler = DistributedSampler(test_set, num_replicas=4, rank=0, shuffle=False)
test_loader = DataLoader(test_set, batch_size=64, sampler=sampler)
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
