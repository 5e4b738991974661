"""Moving in: what other supervisors run, read from their files, and planned as nodes."""
