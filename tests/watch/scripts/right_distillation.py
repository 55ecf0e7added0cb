# right
"""A student that learns from labels and from a teacher."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

teacher, student = nn.Linear(5, 4), nn.Linear(5, 4)
optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
temperature = 2.0
for step in range(4):
    x, y = torch.randn(6, 5), torch.randint(4, (6,))
    with torch.no_grad():
        wanted = (teacher(x) / temperature).softmax(-1)
    output = student(x)
    soft = F.kl_div((output / temperature).log_softmax(-1), wanted, reduction="batchmean")
    loss = 0.7 * temperature**2 * soft + 0.3 * F.cross_entropy(output, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
