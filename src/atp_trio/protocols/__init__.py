"""What one talks to a machine: QMP, the guest agent, its virtio-serial ports, SPICE; each a `Protocol`."""
