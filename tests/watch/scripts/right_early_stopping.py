# right
"""Training stops early, and the best weights are copies."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(0)


class EarlyStopping:
    def __init__(s, patience=3):
        s.p, s.best, s.n, s.state = patience, float("inf"), 0, None

    def __call__(s, v, m):
        if v < s.best:
            s.best, s.n, s.state = v, 0, {k: t.detach().clone() for k, t in m.state_dict().items()}
        else:
            s.n += 1
        return s.n >= s.p


ds = TensorDataset(torch.randn(150, 5), torch.randn(150, 1))
tr, va, te = random_split(ds, [100, 25, 25])
tl, vl, xl = DataLoader(tr, 32, shuffle=True), DataLoader(va, 10), DataLoader(te, 10)
m = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 1))
opt = torch.optim.Adam(m.parameters(), 5e-2)
crit = nn.MSELoss()
es = EarlyStopping()


def ev(loader):
    m.eval()
    t = n = 0
    with torch.no_grad():
        for a, b in loader:
            t += nn.functional.mse_loss(m(a), b, reduction="sum").item()
            n += len(a)
    return t / n


for ep in range(12):
    m.train()
    for a, b in tl:
        opt.zero_grad()
        crit(m(a), b).backward()
        opt.step()
    v = ev(vl)
    print(f"{ep} val {v:.4f} rmse {v**0.5:.4f}")
    if es(v, m):
        break
m.load_state_dict(es.state)
print("test", ev(xl), "best", es.best)
