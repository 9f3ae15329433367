"""wfkernel in a notebook: the IPython extension, cell steps, and what people see of a run."""
