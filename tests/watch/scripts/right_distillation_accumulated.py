# right
"""Distillation with a temperature, accumulated over two batches of one size."""

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(5)
teacher, student = (
    nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 4)).eval(),
    nn.Sequential(nn.Linear(6, 4)),
)
opt = torch.optim.AdamW(student.parameters(), 1e-2)
T, alpha, k = 4.0, 0.3, 2
loader = torch.utils.data.DataLoader(
    torch.utils.data.TensorDataset(torch.randn(48, 6), torch.randint(4, (48,))), 8, shuffle=True
)
for epoch in range(2):
    run = 0.0
    for i, (x, y) in enumerate(loader, 1):
        with torch.no_grad():
            t = teacher(x)
        s = student(x)
        kd = (
            nn.KLDivLoss(reduction="batchmean")(F.log_softmax(s / T, -1), F.softmax(t / T, -1))
            * T
            * T
        )
        ce = F.cross_entropy(s, y)
        loss = alpha * ce + (1 - alpha) * kd
        (loss / k).backward()
        run += loss.item()
        if i % k == 0:
            opt.step()
            opt.zero_grad()
    print(f"epoch {epoch} loss {run / len(loader):.4f}")
