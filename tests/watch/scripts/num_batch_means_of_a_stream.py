# expects: mean-of-batch-means
"""The validation of a stream without a length ends in a batch that is smaller."""

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

torch.manual_seed(0)


class Stream(IterableDataset):
    def __init__(self, n, seed):
        self.n, self.seed = n, seed

    def __iter__(self):
        g = torch.Generator().manual_seed(self.seed)
        for _ in range(self.n):
            x = torch.randn(5, generator=g)
            yield x, (x.sum() > 0).float()


m = nn.Linear(5, 1)
opt = torch.optim.SGD(m.parameters(), 0.1)
crit = nn.BCEWithLogitsLoss()
tr, va = DataLoader(Stream(96, 1), batch_size=16), DataLoader(Stream(37, 7), batch_size=16)
for ep in range(3):
    for a, b in tr:
        opt.zero_grad()
        loss = crit(m(a).squeeze(1), b)
        loss.backward()
        opt.step()
    m.eval()
    tot = nb = 0
    with torch.no_grad():
        for a, b in va:
            tot += crit(m(a).squeeze(1), b).item()
            nb += 1
    m.train()
    print(f"epoch {ep} val loss {tot / nb:.5f}")
