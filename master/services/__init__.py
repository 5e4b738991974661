"""The business logic. Imports no Discord library, no Typer and no HTTP; operations and cogs call it."""
