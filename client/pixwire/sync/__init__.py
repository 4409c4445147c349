"""The shell for threads: sockets, one thread that minds them, and the classes that users hold."""
