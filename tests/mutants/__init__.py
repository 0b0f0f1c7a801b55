"""Faults planted in the product's design, each of which the storm must notice."""
