"""New code for running nodes: what is accepted, who gets it when, and how it goes back."""
