"""The asyncio shell: sockets, timers and waiting, and the classes that users hold."""
