"""The wire: frames, codes, limits, globs, tokens. No I/O, no clock."""
