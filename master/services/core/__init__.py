"""What all rooms of the services share: who asks, what is audited, the nodes in memory, errors and views."""
