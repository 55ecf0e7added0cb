# expects: gradients-not-zeroed
"""A GAN whose discriminator is never zeroed; the generator is."""

import torch
import torch.nn as nn

torch.manual_seed(9)
G, D = nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
og, od = torch.optim.RMSprop(G.parameters(), 1e-3), torch.optim.RMSprop(D.parameters(), 1e-3)
bce = nn.BCEWithLogitsLoss()
one, zero = torch.ones(8, 1), torch.zeros(8, 1)
for it in range(8):
    fake = G(torch.randn(8, 3))
    d = bce(D(torch.randn(8, 4)), one) + bce(D(fake.detach()), zero)
    d.backward()
    od.step()
    og.zero_grad()
    g = bce(D(fake), one)
    g.backward()
    og.step()
