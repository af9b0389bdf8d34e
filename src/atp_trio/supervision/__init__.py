"""What keeps connections alive: states and their table, backoff, heartbeat, and the task that connects again.

`state`, `backoff` and the deciding parts of `heartbeat` and `supervisor` are pure: they take the time as an argument. The rest is
Trio, and knows neither libvirt nor SPICE.
"""
