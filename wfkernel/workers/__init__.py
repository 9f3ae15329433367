"""Where a step's code executes: on the event loop, in threads, in processes, on a Dask cluster."""
