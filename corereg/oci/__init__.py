"""The specification, pure: errors, digests, names and manifests. Usable without a registry."""
