# right
"""L-BFGS with a line search calls its closure many times a step."""

import torch
from torch import nn

torch.manual_seed(0)
x, y = torch.randn(200, 3), torch.randn(200, 1)
m = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1))
opt = torch.optim.LBFGS(m.parameters(), lr=0.5, max_iter=8, line_search_fn="strong_wolfe")
crit = nn.MSELoss()
for i in range(5):

    def closure():
        opt.zero_grad()
        loss = crit(m(x), y)
        loss.backward()
        return loss

    loss = opt.step(closure)
    print("step", i, "loss", loss.item())
with torch.no_grad():
    print("final", crit(m(x), y).item())
