"""The topology file: its model, how it is read, and the plan made from it."""
