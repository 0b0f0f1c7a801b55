"""The sidecar's tests: the door without sockets in simulated time, then the REST door over real ones."""
