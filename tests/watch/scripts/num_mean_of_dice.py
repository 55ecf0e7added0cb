# expects: ratio-of-counts
"""Binary segmentation: the Dice of each batch, averaged over batches."""

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(8)


def loader(n):
    masks = (torch.rand(n, 1, 6, 6) < 0.3).float()
    return torch.utils.data.DataLoader(list(zip(torch.randn(n, 3, 6, 6), masks, strict=True)), 4)


a, b = loader(20), loader(16)
net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))
opt = torch.optim.Adam(net.parameters(), 1e-2)


def dice(p, t):
    inter = (p * t).sum()
    return (2 * inter / (p.sum() + t.sum())).item()


for epoch in range(5):
    net.train()
    for x, y in a:
        opt.zero_grad()
        F.binary_cross_entropy_with_logits(net(x), y, pos_weight=torch.tensor(2.0)).backward()
        opt.step()
    net.eval()
    score = 0
    with torch.no_grad():
        for x, y in b:
            o = net(x)
            F.binary_cross_entropy_with_logits(o, y)
            score += dice((torch.sigmoid(o) > 0.5).float(), y)
    print(f"epoch {epoch}: val Dice {score / len(b):.5f}")
