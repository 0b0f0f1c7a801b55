"""What it costs, and how fast it is: every speed beside its floor from the same run (`make bench`)."""
