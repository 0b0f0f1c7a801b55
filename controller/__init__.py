"""How what was asked comes true: look at records and Railway, decide, act, look again."""
