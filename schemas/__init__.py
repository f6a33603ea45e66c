"""The documents: names, digests, the YAML subset, manifests, JSON Schemas, pure metric rules."""
