"""The master's Discord bot: connection, embeds, and the implementation of the services' port."""
