"""Tests of what we send Railway, what we make of its answers, and how we spend its budget."""
