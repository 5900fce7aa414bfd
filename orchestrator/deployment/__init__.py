"""Files for an engine that is there already: what a plan comes to in containers, in a cluster and under systemd."""
