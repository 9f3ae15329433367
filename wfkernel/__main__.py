"""``python -m wfkernel`` is the same as ``wf``."""

from wfkernel.cli import main

main()
