import pytest
import torch

import batchproof as bp


def test_a_mask_that_broadcasts_is_refused(unchecked):
    with pytest.raises(bp.ShapeError, match="broadcasting would change the weight"):
        bp.reduce(torch.ones(8, 64), mask=torch.ones(8, 1, dtype=torch.bool))


def test_checked():
    with pytest.raises(Exception) as e:
        bp.reduce(torch.ones(8, 64), mask=torch.ones(8, 1, dtype=torch.bool))
    print(type(e.value))
