"""A Railway of our own: one simulated world, its GraphQL over HTTP, and agents that answer on real sockets.

What stands in for Railway is part of the product. It has Railway's habits (facts: its public GraphQL API as
of August 2026 and what its clients recorded), and it can misbehave on a seed or on demand.
"""
