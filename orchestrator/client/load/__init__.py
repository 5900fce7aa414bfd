"""Load on a hub: connections that cost their process so little that the hub is the limit, and what is measured with them."""
