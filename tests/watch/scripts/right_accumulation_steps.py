# right
"""Accumulation over equal batches, and losses estimated from a few of them."""

import math

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(1337)
V, B, T, ACC = 30, 6, 12, 4
data = torch.randint(0, V, (2000,))


def get_batch(split):
    i = torch.randint(len(data) - T, (B,))
    return torch.stack([data[j : j + T] for j in i]), torch.stack(
        [data[j + 1 : j + 1 + T] for j in i]
    )


class M(nn.Module):
    def __init__(s):
        super().__init__()
        s.e = nn.Embedding(V, 16)
        s.d = nn.Dropout(0.1)
        s.h = nn.Linear(16, V)

    def forward(s, i, t=None):
        logits = s.h(s.d(s.e(i)))
        return logits, None if t is None else F.cross_entropy(
            logits.view(-1, V), t.view(-1), ignore_index=-1
        )


m = M()
opt = torch.optim.AdamW(m.parameters(), 1e-3, weight_decay=0.1)


@torch.no_grad()
def estimate_loss():
    out = {}
    m.eval()
    for s in ["train", "val"]:
        L = torch.zeros(5)
        for k in range(5):
            L[k] = m(*get_batch(s))[1].item()
        out[s] = L.mean()
    m.train()
    return out


X, Y = get_batch("train")
for it in range(9):
    for g in opt.param_groups:
        g["lr"] = 1e-3 * 0.5 * (1 + math.cos(math.pi * it / 9))
    if it % 4 == 0:
        L = estimate_loss()
        print(f"step {it}: train loss {L['train']:.4f}, val loss {L['val']:.4f}")
    for ms in range(ACC):
        _, loss = m(X, Y)
        loss = loss / ACC
        X, Y = get_batch("train")
        loss.backward()
    torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)
    opt.step()
    opt.zero_grad(set_to_none=True)
    lossf = loss.item() * ACC
    print(f"iter {it}: loss {lossf:.4f}")
