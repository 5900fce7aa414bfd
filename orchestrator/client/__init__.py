"""The reconnecting connection to a hub."""
