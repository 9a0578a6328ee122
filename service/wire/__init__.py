"""Messages on the wire: what client and server share."""
