# right
"""Folds, the best weights of each copied, and the mean of their scores."""

import copy

import torch
from sklearn.model_selection import KFold
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

torch.manual_seed(0)
ds = TensorDataset(torch.randn(110, 6), torch.randn(110, 1))
crit = nn.MSELoss()
scores = []
for fold, (tr, va) in enumerate(KFold(5, shuffle=True, random_state=0).split(range(110))):
    m = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
    opt = torch.optim.Adam(m.parameters(), 1e-2)
    tl, vl = DataLoader(Subset(ds, tr), 16, shuffle=True), DataLoader(Subset(ds, va), 8)
    best, state = float("inf"), None
    for ep in range(3):
        m.train()
        for a, b in tl:
            opt.zero_grad()
            loss = crit(m(a), b)
            loss.backward()
            opt.step()
        m.eval()
        s = 0.0
        with torch.no_grad():
            for a, b in vl:
                s += crit(m(a), b).item() * a.size(0)
        s /= len(vl.dataset)
        if s < best:
            best, state = s, copy.deepcopy(m.state_dict())
    m.load_state_dict(state)
    scores.append(best)
    print(f"fold {fold}: {best:.4f}")
print(f"cv mean {sum(scores) / 5:.4f}")
