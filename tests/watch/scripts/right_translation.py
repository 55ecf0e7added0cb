# right
"""A translation with padding, whose losses are weighted by their tokens."""

import math

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

torch.manual_seed(0)
PAD = 0
data = [
    (
        torch.randint(1, 20, (torch.randint(3, 9, ()),)),
        torch.randint(1, 20, (torch.randint(3, 9, ()),)),
    )
    for _ in range(50)
]


def collate(b):
    s, t = zip(*b, strict=True)
    return pad_sequence(s, batch_first=True), pad_sequence(t, batch_first=True)


class Seq(nn.Module):
    def __init__(self):
        super().__init__()
        self.e = nn.Embedding(20, 16, padding_idx=PAD)
        self.enc = nn.GRU(16, 24, batch_first=True)
        self.dec = nn.GRU(16, 24, batch_first=True)
        self.o = nn.Linear(24, 20)

    def forward(self, s, t):
        _, h = self.enc(self.e(s))
        z, _ = self.dec(self.e(t), h)
        return self.o(z)


m = Seq()
opt = torch.optim.Adam(m.parameters(), lr=1e-2)
crit = nn.CrossEntropyLoss(ignore_index=PAD)
dl = DataLoader(data[:40], batch_size=8, shuffle=True, collate_fn=collate)
vl = DataLoader(data[40:], batch_size=4, collate_fn=collate)
for ep in range(3):
    m.train()
    for s, t in dl:
        out = m(s, t[:, :-1])
        loss = crit(out.reshape(-1, 20), t[:, 1:].reshape(-1))
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)
        opt.step()
    m.eval()
    tot = ntok = 0
    with torch.no_grad():
        for s, t in vl:
            out = m(s, t[:, :-1])
            tgt = t[:, 1:].reshape(-1)
            n = (tgt != PAD).sum().item()
            tot += crit(out.reshape(-1, 20), tgt).item() * n
            ntok += n
    print(f"Epoch: {ep + 1:02} | Val. Loss: {tot / ntok:.3f} | PPL: {math.exp(tot / ntok):7.3f}")
