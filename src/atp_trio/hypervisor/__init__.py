"""libvirt mode's transport: one connection a host, the domains reached through it, and their events."""
