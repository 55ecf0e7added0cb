# expects: ratio-of-counts
"""The F1 of several labels is averaged over batches."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x, y = torch.randn(150, 6), (torch.rand(150, 4) < 0.4).float()
dl, vl = (
    DataLoader(TensorDataset(x, y), 16, shuffle=True),
    DataLoader(TensorDataset(x[:75], y[:75]), 16),
)
m = nn.Linear(6, 4)
opt = torch.optim.Adam(m.parameters(), 5e-2)
crit = nn.BCEWithLogitsLoss()
for ep in range(4):
    m.train()
    for a, b in dl:
        opt.zero_grad()
        loss = crit(m(a), b)
        loss.backward()
        opt.step()
    m.eval()
    f1s = []
    with torch.no_grad():
        for a, b in vl:
            o = m(a)
            crit(o, b)
            p = (o > 0).float()
            tp = (p * b).sum().item()
            f1s.append(2 * tp / (p.sum() + b.sum()).item())
    print(f"{ep} f1 {sum(f1s) / len(f1s):.6f}")
