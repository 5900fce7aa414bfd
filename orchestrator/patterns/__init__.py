"""Pure engines of the patterns: frames and time in, frames and outcomes out."""
