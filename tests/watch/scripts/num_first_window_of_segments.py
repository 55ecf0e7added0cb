# expects: window-average-off
"""A language model without an optimiser, whose first window holds one segment more."""

import math

import torch
from torch import nn

torch.manual_seed(0)
V, bptt, bs = 20, 7, 4
data = torch.randint(0, V, (400,)).view(bs, -1).t().contiguous()
val = torch.randint(0, V, (200,)).view(bs, -1).t().contiguous()


class R(nn.Module):
    def __init__(s):
        super().__init__()
        s.e = nn.Embedding(V, 12)
        s.r = nn.LSTM(12, 12)
        s.o = nn.Linear(12, V)

    def forward(s, x, h):
        z, h = s.r(s.e(x), h)
        return s.o(z).view(-1, V), h


m = R()
crit = nn.CrossEntropyLoss()
lr = 1.0


def ev(d):
    m.eval()
    t = 0.0
    h = None
    with torch.no_grad():
        for i in range(0, d.size(0) - 1, bptt):
            n = min(bptt, len(d) - 1 - i)
            o, h = m(d[i : i + n], h)
            t += n * crit(o, d[i + 1 : i + 1 + n].view(-1)).item()
    return t / (len(d) - 1)


for ep in range(3):
    m.train()
    tot = 0.0
    h = None
    for k, i in enumerate(range(0, data.size(0) - 1, bptt)):
        n = min(bptt, len(data) - 1 - i)
        if h is not None:
            h = tuple(t.detach() for t in h)
        m.zero_grad()
        o, h = m(data[i : i + n], h)
        loss = crit(o, data[i + 1 : i + 1 + n].view(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(m.parameters(), 0.25)
        for q in m.parameters():
            q.data.add_(q.grad, alpha=-lr)
        tot += loss.item()
        if k % 5 == 0 and k:
            print(f"| {k} | loss {tot / 5:.2f} | ppl {math.exp(tot / 5):.2f}")
            tot = 0
    v = ev(val)
    print(f"| end of epoch {ep} | valid loss {v:.2f} | valid ppl {math.exp(v):.2f}")
