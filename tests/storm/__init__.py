"""The storm: the product's own code over a simulated world, by a seed, judged by the laws of DESIGN.md section 4."""
