"""What the laws are drawn over: cuts of samples, integer losses and weights."""

import itertools

from hypothesis import strategies as st


@st.composite
def cuts(draw, samples: int, *, allow_empty: bool = True) -> list[list[int]]:
    """A partition of range(samples), in order, into micro-batches of any sizes."""
    inner = st.lists(st.integers(0, samples), max_size=samples)
    bounds = sorted([0, *draw(inner), samples])
    parts = [list(range(a, b)) for a, b in itertools.pairwise(bounds)]
    return parts if allow_empty else [part for part in parts if part]


integers = st.integers(-1000, 1000)
weights = st.integers(0, 50)
