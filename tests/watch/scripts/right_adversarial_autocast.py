# right
"""A generator and a discriminator under autocast, each with a scaler of its own."""

import torch
from torch import nn

torch.manual_seed(0)
G = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
D = nn.Sequential(nn.Linear(4, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
og = torch.optim.Adam(G.parameters(), 2e-4, betas=(0.5, 0.999))
od = torch.optim.Adam(D.parameters(), 2e-4, betas=(0.5, 0.999))
sg, sd = torch.amp.GradScaler("cpu"), torch.amp.GradScaler("cpu")
bce = nn.BCEWithLogitsLoss()
for it in range(8):
    real = torch.randn(32, 4)
    z = torch.randn(32, 8)
    od.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        fake = G(z)
        errD = bce(D(real), torch.ones(32, 1)) + bce(D(fake.detach()), torch.zeros(32, 1))
    sd.scale(errD).backward()
    sd.unscale_(od)
    nn.utils.clip_grad_norm_(D.parameters(), 1.0)
    sd.step(od)
    sd.update()
    og.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        errG = bce(D(fake), torch.ones(32, 1))
    sg.scale(errG).backward()
    sg.unscale_(og)
    nn.utils.clip_grad_norm_(G.parameters(), 1.0)
    sg.step(og)
    sg.update()
    if it % 2 == 0:
        print(f"[{it}] Loss_D: {errD.item():.4f} Loss_G: {errG.item():.4f}")
