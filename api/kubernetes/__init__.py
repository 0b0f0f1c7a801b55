"""A thin client of the Kubernetes API: where it is, how to speak to it, and how to follow what changes.

It knows nothing of pools and claims; the records do (`api/records/kubernetes.py`).
"""
