"""The report as one self-contained page."""
from batchproof.check._report import Report
from batchproof.check._heads import Heads


def page(report: Report) -> str:
    """Return the page."""
    return str(report)


def pages(heads: Heads) -> str:
    """Return the page."""
    return str(heads)
