"""Where strong claims live: a port, and what keeps them."""
