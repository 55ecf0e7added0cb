# expects: ratio-of-counts
"""Macro F1 by sklearn per batch, averaged."""

import torch
import torch.nn as nn
from sklearn.metrics import f1_score

torch.manual_seed(0)
ds = torch.utils.data.TensorDataset(torch.randn(90, 5), torch.randint(3, (90,)))
tr, va = torch.utils.data.DataLoader(ds, 16), torch.utils.data.DataLoader(ds, 16)
net, c = nn.Linear(5, 3), nn.CrossEntropyLoss()
opt = torch.optim.Adam(net.parameters(), 0.05)
for e in range(3):
    for x, y in tr:
        opt.zero_grad()
        c(net(x), y).backward()
        opt.step()
    f, vl, n = [], 0, 0
    with torch.no_grad():
        for x, y in va:
            o = net(x)
            vl += c(o, y).item() * len(x)
            n += len(x)
            f.append(f1_score(y, o.argmax(1), average="macro"))
    print(f"epoch {e} val loss {vl / n:.4f} F1 {sum(f) / len(f):.4f}")
