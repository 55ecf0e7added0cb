# right
"""Two optimisers, one with a loss scaler; its gradient is unscaled before it is clipped."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

generator, discriminator = nn.Linear(4, 5), nn.Linear(5, 1)
of_generator = torch.optim.Adam(generator.parameters(), lr=1e-3)
of_discriminator = torch.optim.Adam(discriminator.parameters(), lr=1e-3)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
off = torch.amp.GradScaler("cpu", enabled=False)
for _ in range(4):
    real, made = torch.randn(6, 5), generator(torch.randn(6, 4))
    of_discriminator.zero_grad()
    outputs = torch.cat([discriminator(real), discriminator(made.detach())])
    loss = F.binary_cross_entropy_with_logits(outputs, torch.ones(12, 1))
    off.scale(loss).backward()
    off.unscale_(of_discriminator)
    nn.utils.clip_grad_norm_(discriminator.parameters(), 0.05)
    off.step(of_discriminator)

    of_generator.zero_grad()
    loss = F.binary_cross_entropy_with_logits(discriminator(made), torch.ones(6, 1))
    scaler.scale(loss).backward()
    scaler.unscale_(of_generator)
    norm = nn.utils.get_total_norm([p.grad for p in generator.parameters()])
    nn.utils.clip_grads_with_norm_(generator.parameters(), 0.05, norm)
    scaler.step(of_generator)
    scaler.update()
