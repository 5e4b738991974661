"""What the system does, with no Discord, Typer or HTTP in it; cogs, control socket and CLI call these."""
