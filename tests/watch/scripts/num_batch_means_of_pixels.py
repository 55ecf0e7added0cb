# expects: mean-of-batch-means
"""A segmentation averages the means of batches that ignore more or fewer pixels."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x = torch.randn(30, 3, 8, 8)
y = torch.randint(0, 5, (30, 8, 8))
y[torch.rand(30, 8, 8) < 0.4] = 255
y[20:24, :4] = 255
tr = DataLoader(TensorDataset(x[:20], y[:20]), batch_size=5, shuffle=True)
va = DataLoader(TensorDataset(x[20:], y[20:]), batch_size=2)
m = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 5, 1))
crit = nn.CrossEntropyLoss(ignore_index=255)
opt = torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9)
for ep in range(3):
    m.train()
    for a, b in tr:
        loss = crit(m(a), b)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
    m.eval()
    losses = []
    with torch.inference_mode():
        for a, b in va:
            losses.append(crit(m(a), b).item())
    print(f"epoch {ep}: val loss {sum(losses) / len(losses):.6f}")
