"""What all services share: actors, permissions, auditing, the node directory, errors and views."""
