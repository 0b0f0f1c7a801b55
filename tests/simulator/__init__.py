"""The Railway simulator, held to what is on record about Railway and about the agents."""
