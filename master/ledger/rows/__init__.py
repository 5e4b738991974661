"""The rows of the ledger: one module a concern, frozen Structs in and out."""
