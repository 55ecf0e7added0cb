# right
"""An AverageMeter that is told the size of each batch."""

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


class AverageMeter:
    def __init__(self):
        self.sum = self.count = 0.0

    def update(self, value, n):
        self.sum += value * n
        self.count += n

    @property
    def avg(self):
        return self.sum / self.count


for epoch in range(3):
    losses, top1 = AverageMeter(), AverageMeter()
    for inputs, targets in train_loader:
        optimizer.zero_grad()
        logits = model(inputs)
        loss = criterion(logits, targets)
        loss.backward()
        optimizer.step()
        losses.update(loss.item(), inputs.size(0))
        top1.update(100 * (logits.argmax(1) == targets).float().mean().item(), inputs.size(0))
    print(f"Epoch {epoch}: Loss {losses.avg:.4e} Acc@1 {top1.avg:6.2f}")
