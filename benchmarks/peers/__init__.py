"""The same model and the same trace behind four other servers that people build, and behind pixwire."""
