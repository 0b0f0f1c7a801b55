"""What an installation did, as seen from outside, and the laws of DESIGN.md section 4 that judge it."""
