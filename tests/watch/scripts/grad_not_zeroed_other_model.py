# expects: gradients-not-zeroed
"""The wrong module is zeroed."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

encoder, decoder = nn.Linear(5, 3), nn.Linear(3, 5)
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()])
unrelated = nn.Linear(2, 2)
for step in range(5):
    x = torch.randn(6, 5)
    unrelated.zero_grad()
    F.mse_loss(decoder(encoder(x)), x).backward()
    optimizer.step()
