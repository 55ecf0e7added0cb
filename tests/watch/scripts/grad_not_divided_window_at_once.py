# expects: not-divided
"""A window of batches, back-propagated at once."""

import torch
import torch.nn as nn

torch.manual_seed(0)
ds = torch.utils.data.TensorDataset(torch.randn(59, 4), torch.randn(59, 1))
loader = torch.utils.data.DataLoader(ds, 8)
net = nn.Linear(4, 1)
opt = torch.optim.SGD(net.parameters(), 0.05)
for epoch in range(3):
    losses = []
    for i, (x, y) in enumerate(loader, 1):
        losses.append(nn.functional.mse_loss(net(x), y))
        if i % 4 == 0 or i == len(loader):
            opt.zero_grad()
            sum(losses).backward()
            opt.step()
            losses = []
