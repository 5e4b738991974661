"""The master's side of Discord: its connection, its embeds, and the port that services act through."""
