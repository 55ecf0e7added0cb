# expects: fixed-window-size
"""Ten batches in windows of four: the last window holds two, divided by four."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

data = torch.utils.data.TensorDataset(torch.randn(40, 5), torch.randint(3, (40,)))
loader = torch.utils.data.DataLoader(data, batch_size=4)
model = nn.Linear(5, 3)
optimizer = torch.optim.AdamW(model.parameters())
accumulate = 4
for epoch in range(2):
    for i, (x, y) in enumerate(loader):
        (F.cross_entropy(model(x), y) / accumulate).backward()
        if (i + 1) % accumulate == 0 or i + 1 == len(loader):
            optimizer.step()
            optimizer.zero_grad()
