"""Where runs live: a journal in front of one DuckDB file, values beside it, SQL views for people."""
