"""``python -m wfkernel.testing SCRIPT ...``: run a script that dies at the point in ``WFKERNEL_CRASH_AT``."""

import sys

from wfkernel.testing.crash import run_crashing

run_crashing(sys.argv[1:])
