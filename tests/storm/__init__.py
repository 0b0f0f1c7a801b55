"""The storm: the product's own code over a simulated world, by a seed, held to the laws of DESIGN.md 4."""
