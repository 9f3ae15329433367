"""What a workflow is: steps, plans and what can be told about them without running anything."""
