"""One page about one run or several: no network, no script, the same each time.

write_report     read run folders, write the page
Run, read_run    a run folder's records, times and configuration, as its files hold them

Curves with bands of one standard error, exact means beside means of batch means, whether best and
runner-up differ by more than chance, throughput, where the time went, configuration, environment.
No torch is loaded here.
"""

from batchproof.report._run import Run, read_run
from batchproof.report._write import write_report

__all__ = ["Run", "read_run", "write_report"]
