"""The client of the Kubernetes API and what follows it, against a real server and a door that misbehaves."""
