"""Ways to a SPICE server: TCP, TLS and UNIX streams, and the URI that names them."""
