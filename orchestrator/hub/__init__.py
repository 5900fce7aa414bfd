"""The signalling server."""
