"""How a workflow runs: events, the fold that turns them into state, and what a step can call while it runs."""
