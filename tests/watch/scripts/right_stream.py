# right
"""Streams without a length, read by two workers."""

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

torch.manual_seed(0)


class Stream(IterableDataset):
    def __init__(self, n, seed):
        self.n, self.seed = n, seed

    def __iter__(self):
        w = get_worker_info()
        k, i = (w.num_workers, w.id) if w else (1, 0)
        g = torch.Generator().manual_seed(self.seed + i)
        for _ in range(i, self.n, k):
            x = torch.randn(5, generator=g)
            yield x, (x.sum() > 0).float()


m = nn.Linear(5, 1)
opt = torch.optim.SGD(m.parameters(), 0.1)
crit = nn.BCEWithLogitsLoss()
tr, va = (
    DataLoader(Stream(100, 1), batch_size=16, num_workers=2),
    DataLoader(Stream(45, 7), batch_size=16),
)
for ep in range(2):
    for a, b in tr:
        opt.zero_grad()
        loss = crit(m(a).squeeze(1), b)
        loss.backward()
        opt.step()
    m.eval()
    tot = n = hit = 0
    with torch.no_grad():
        for a, b in va:
            o = m(a).squeeze(1)
            tot += crit(o, b).item() * len(b)
            n += len(b)
            hit += ((o > 0) == (b > 0.5)).sum().item()
    m.train()
    print(f"epoch {ep} val loss {tot / n:.4f} acc {hit / n:.3f}")
