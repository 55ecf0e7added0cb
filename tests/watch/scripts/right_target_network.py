# right
"""A target network follows the policy softly, through its own state_dict."""

import collections
import random

import torch
from torch import nn

torch.manual_seed(0)
random.seed(0)
net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
tgt = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
tgt.load_state_dict(net.state_dict())
opt = torch.optim.AdamW(net.parameters(), lr=1e-3, amsgrad=True)
buf = collections.deque(maxlen=500)
s = torch.randn(4)
for t in range(80):
    with torch.no_grad():
        a = net(s).argmax().item() if random.random() > 0.1 else random.randrange(2)
    s2 = torch.randn(4)
    buf.append((s, a, random.random(), s2))
    s = s2
    if len(buf) < 32:
        continue
    b = random.sample(buf, 32)
    S = torch.stack([i[0] for i in b])
    A = torch.tensor([[i[1]] for i in b])
    R = torch.tensor([i[2] for i in b])
    S2 = torch.stack([i[3] for i in b])
    q = net(S).gather(1, A)
    with torch.no_grad():
        v = tgt(S2).max(1).values
    loss = nn.SmoothL1Loss()(q, (v * 0.99 + R).unsqueeze(1))
    opt.zero_grad()
    loss.backward()
    nn.utils.clip_grad_value_(net.parameters(), 100)
    opt.step()
    td, nd = tgt.state_dict(), net.state_dict()
    for k in nd:
        td[k] = nd[k] * 0.005 + td[k] * 0.995
    tgt.load_state_dict(td)
    if t % 20 == 0:
        print("step", t, "loss", round(loss.item(), 4))
