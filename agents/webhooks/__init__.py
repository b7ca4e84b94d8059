"""Recipients outside the hub: an address on the web to which a project's messages are posted, signed."""
