# right
"""Log-probabilities times advantages, and an entropy."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

policy, value = nn.Linear(4, 3), nn.Linear(4, 1)
optimizer = torch.optim.Adam([*policy.parameters(), *value.parameters()])
for step in range(4):
    states, actions, returns = torch.randn(9, 4), torch.randint(3, (9,)), torch.randn(9)
    log_probabilities = F.log_softmax(policy(states), dim=-1)
    taken = log_probabilities.gather(1, actions[:, None]).squeeze(1)
    values = value(states).squeeze(1)
    advantages = (returns - values).detach()
    entropy = -(log_probabilities.exp() * log_probabilities).sum(1).mean()
    loss = -(taken * advantages).mean() + 0.5 * F.mse_loss(values, returns) - 0.01 * entropy
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
    optimizer.step()
