from functools import partial

import pytest
import torch
from torch import nn

from small_runs import batches, classifier, trainer


class OfOnesOwn(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = classifier()

    def forward(self, x):
        return self.inner(x)


@pytest.mark.parametrize("make", [classifier, OfOnesOwn])
def test_a_model_is_compiled_whether_torch_or_its_user_wrote_its_class(monkeypatch, make):
    graphs = []

    def backend(graph, inputs):
        del inputs
        graphs.append(graph)
        return graph.forward

    plain = make()
    history = trainer(plain).fit(batches(), max_epochs=1)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    compiled = make()
    again = trainer(compiled, compile=True).fit(batches(), max_epochs=1)
    assert graphs
    assert again.values("train_loss") == pytest.approx(history.values("train_loss"), rel=1e-6)
    assert list(compiled.state_dict()) == list(plain.state_dict())
