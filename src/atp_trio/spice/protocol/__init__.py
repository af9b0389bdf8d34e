"""The SPICE protocol without input and output: bytes in, messages out, and back. No clock, no socket, no Trio.

`link` brings a connection from its first byte to the data stage, `channel` runs the data stage, both for the client's role and
the server's; `vdagent` is the guest agent's transport inside the main channel.
"""
