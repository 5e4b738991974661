"""What a solution may do: one function each, with a Struct of parameters. None runs a shell."""
