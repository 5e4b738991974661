"""Mail that becomes actions. Empty until it is built."""
