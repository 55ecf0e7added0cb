# expects: last-batch-reported
"""A schedule follows what an evaluation returns, the loss of its last batch."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
model = nn.Linear(9, 1)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
x, y = torch.randn(171, 9), torch.randn(171, 1)
training = torch.utils.data.TensorDataset(x[:96], y[:96])
validation = torch.utils.data.TensorDataset(x[96:], y[96:])


def validate():
    model.eval()
    with torch.no_grad():
        for inputs, targets in torch.utils.data.DataLoader(validation, 16):
            loss = F.mse_loss(model(inputs), targets)
    return loss


for epoch in range(5):
    model.train()
    for inputs, targets in torch.utils.data.DataLoader(training, 16, shuffle=True):
        optimizer.zero_grad()
        F.mse_loss(model(inputs), targets).backward()
        optimizer.step()
    schedule.step(validate())
