"""Measurements of the client: storms, flapping, throughput and renewals, each with a bar."""
