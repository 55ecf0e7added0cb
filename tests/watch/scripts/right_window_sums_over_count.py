# right
"""Each window sums the losses of its micro-batches over their count, the short one too."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x, y = torch.randn(110, 6), torch.randint(0, 3, (110,))
dl = DataLoader(TensorDataset(x, y), 8, shuffle=True)
K = 4
N = len(dl)
m = nn.Linear(6, 3)
opt = torch.optim.SGD(m.parameters(), 0.1)
crit = nn.CrossEntropyLoss(reduction="sum")
for ep in range(2):
    win = []
    for i, b in enumerate(dl):
        win.append(b)
        if len(win) == K or i == N - 1:
            n = sum(len(y) for _, y in win)
            opt.zero_grad()
            for a, c in win:
                (crit(m(a), c) / n).backward()
            opt.step()
            win = []
