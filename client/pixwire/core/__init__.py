"""What a client decides, without a socket, a clock or chance: calls, connections, how to go on. SPEC 7, 9, 12."""
