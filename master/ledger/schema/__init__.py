"""The tables, their migrations, and what is rendered from them."""
