"""The catalogue of mistakes: one name, one sentence and one remedy for each.

check proves a mistake by running a step under many cuts, watch by the shares and numbers of one
run, audit by reading the code. All three take the name, the code, the remedy and the page from
here.

CATALOGUE    every mistake, by name
Mistake      its name, code, group, sentence, remedies and page
mistake      the mistake of a name, or an error that lists the nearest names
GROUPS       the titles of the groups, in the order in which they are shown

equivalent_settings, Settings    the optimiser's settings that keep a trajectory when a constant
                                 factor before the loss is removed
"""

from batchproof.mistakes._catalogue import CATALOGUE, mistake
from batchproof.mistakes._mistake import GROUPS, Group, Mistake, Remedy
from batchproof.mistakes._settings import OptimizerName, Settings, equivalent_settings

__all__ = [
    "CATALOGUE",
    "GROUPS",
    "Group",
    "Mistake",
    "OptimizerName",
    "Remedy",
    "Settings",
    "equivalent_settings",
    "mistake",
]
