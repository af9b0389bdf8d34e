"""One face for each codec of the wire, ours in C or a library's."""
