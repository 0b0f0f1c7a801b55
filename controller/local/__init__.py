"""Everything on one machine: a Postgres of our own, a simulated Railway, controller and sidecar."""
