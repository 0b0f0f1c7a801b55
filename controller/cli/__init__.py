"""The command `agent-pool`."""
