"""The two scheduling decisions, as pure functions of plain data: who is admitted to an engine, who shares a pass."""
