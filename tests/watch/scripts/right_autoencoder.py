# right
"""A variational autoencoder sums over a batch, and shows sums over samples."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x = torch.rand(100, 20)
dl = DataLoader(TensorDataset(x), 16, shuffle=True)
vl = DataLoader(TensorDataset(x[:41]), 16)


class VAE(nn.Module):
    def __init__(s):
        super().__init__()
        s.a = nn.Linear(20, 16)
        s.m = nn.Linear(16, 4)
        s.v = nn.Linear(16, 4)
        s.d = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 20))

    def forward(s, x):
        h = F.relu(s.a(x))
        mu, lv = s.m(h), s.v(h)
        return torch.sigmoid(s.d(mu + torch.randn_like(mu) * (lv / 2).exp())), mu, lv


def loss_fn(r, x, mu, lv):
    return F.binary_cross_entropy(r, x, reduction="sum") - 0.5 * torch.sum(
        1 + lv - mu.pow(2) - lv.exp()
    )


m = VAE()
opt = torch.optim.Adam(m.parameters(), 1e-3)
for ep in range(1, 4):
    m.train()
    tl = 0
    for i, (b,) in enumerate(dl):
        opt.zero_grad()
        loss = loss_fn(*((o := m(b))[0], b, o[1], o[2]))
        loss.backward()
        tl += loss.item()
        opt.step()
        if i % 3 == 0:
            print(f"Train Epoch: {ep} [{i * len(b)}/100] Loss: {loss.item() / len(b):.6f}")
    print(f"====> Epoch: {ep} Average loss: {tl / len(dl.dataset):.4f}")
    m.eval()
    te = 0
    with torch.no_grad():
        for (b,) in vl:
            o = m(b)
            te += loss_fn(o[0], b, o[1], o[2]).item()
    print(f"====> Test set loss: {te / len(vl.dataset):.4f}")
