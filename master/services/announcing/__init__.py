"""One message to several places."""
