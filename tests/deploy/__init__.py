"""What is deployed: kustomize, Helm, Argo CD and Flux, against a real API server with RBAC on."""
