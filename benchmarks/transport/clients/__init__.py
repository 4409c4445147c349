"""The clients that drive them; every one runs in a process of its own (`driver.py`)."""
