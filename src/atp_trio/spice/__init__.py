"""SPICE mode: the wire, what is said on it, and a machine's channels over it."""
