"""The catalogue of mistakes: one name, one sentence and one remedy for each.

check proves a mistake by running a step under many cuts, watch by the shares and numbers of one
run, audit by reading the code. All three take the name, the code, the remedy and the page from
here.

CATALOGUE    every mistake, by name
Mistake      its name, code, group, sentence, remedies and page
mistake      the mistake of a name, or an error that lists the nearest names
GROUPS       the titles of the groups, in the order in which they are shown
"""

from batchproof.mistakes._catalogue import CATALOGUE, mistake
from batchproof.mistakes._mistake import GROUPS, Group, Mistake, Remedy

__all__ = ["CATALOGUE", "GROUPS", "Group", "Mistake", "Remedy", "mistake"]
