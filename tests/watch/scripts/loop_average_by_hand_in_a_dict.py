# expects: state-moved-per-micro-batch
"""An average in a dict, whose tensors are new ones with every micro-batch of two."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
images, labels = load_digits(return_X_y=True)
x = torch.tensor(images, dtype=torch.float32)[:768] / 16
loader = DataLoader(TensorDataset(x, torch.tensor(labels)[:768]), batch_size=32, shuffle=True)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
average = {name: p.detach().clone() for name, p in model.named_parameters()}
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)


@torch.no_grad()
def move(decay):
    for name, parameter in model.named_parameters():
        average[name] = decay * average[name] + (1 - decay) * parameter.detach()


for number, (inputs, targets) in enumerate(loader, 1):
    (nn.functional.cross_entropy(model(inputs), targets) / 2).backward()
    if number % 2 == 0:
        optimizer.step()
        optimizer.zero_grad()
    move(0.999)
