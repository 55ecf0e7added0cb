# right
"""Averaged weights with a schedule of their own, and batch statistics taken anew."""

import torch
from torch import nn
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x, y = torch.randn(90, 6), torch.randint(0, 3, (90,))
dl = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True)
m = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
crit = nn.CrossEntropyLoss()
opt = torch.optim.SGD(m.parameters(), lr=0.1)
swa = AveragedModel(m)
sch = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 6)
swl = SWALR(opt, 0.05)
for ep in range(6):
    m.train()
    for a, b in dl:
        opt.zero_grad()
        crit(m(a), b).backward()
        opt.step()
    if ep >= 3:
        swa.update_parameters(m)
        swl.step()
    else:
        sch.step()
update_bn(dl, swa)
swa.eval()
hit = 0
with torch.no_grad():
    for a, b in dl:
        hit += (swa(a).argmax(1) == b).sum().item()
print("swa accuracy", hit / 90)
