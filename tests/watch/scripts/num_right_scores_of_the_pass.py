# right
"""Macro F1 and IoU over the pass."""

import torch
import torch.nn as nn
from sklearn.metrics import f1_score, jaccard_score

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
    P, Y, vl, n = [], [], 0, 0
    with torch.no_grad():
        for x, y in va:
            o = net(x)
            vl += c(o, y).item() * len(x)
            n += len(x)
            P.append(o.argmax(1))
            Y.append(y)
    P, Y = torch.cat(P), torch.cat(Y)
    print(
        f"epoch {e} val loss {vl / n:.4f} "
        f"F1 {f1_score(Y, P, average='macro'):.4f} "
        f"iou {jaccard_score(Y, P, average='macro'):.4f} "
        f"w {f1_score(Y, P, average='weighted'):.4f}"
    )
