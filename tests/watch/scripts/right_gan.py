# right
"""A generator and a discriminator: two optimisers, one criterion, one helper."""

import torch
from torch import nn

torch.manual_seed(0)

generator = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
discriminator = nn.Sequential(nn.Linear(2, 8), nn.LeakyReLU(), nn.Linear(8, 1))
criterion = nn.BCEWithLogitsLoss()
of_generator = torch.optim.Adam(generator.parameters(), lr=2e-4)
of_discriminator = torch.optim.Adam(discriminator.parameters(), lr=2e-4)


def judged(images, real):
    output = discriminator(images)
    return criterion(output, torch.full_like(output, float(real)))


for step in range(5):
    discriminator.zero_grad()
    judged(torch.randn(8, 2), real=True).backward()
    fake = generator(torch.randn(8, 4))
    judged(fake.detach(), real=False).backward()
    of_discriminator.step()
    generator.zero_grad()
    judged(fake, real=True).backward()
    of_generator.step()
