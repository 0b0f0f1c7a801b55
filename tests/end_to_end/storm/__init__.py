"""The storm over real processes: a real store, sockets, kill -9 and SIGSTOP; then calm.

Two controllers and two sidecars serve clients that hang up and ask again, while processes die and
freeze, connections are cut, Railway and the agents misbehave, and people meddle. All is recorded from
outside the product as a history (tests/history), which the laws judge. The seed decides what is tried;
with real processes no run is like another.
"""
