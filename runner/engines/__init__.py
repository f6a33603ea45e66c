"""Container engines behind one small protocol: sandbox, docker, singularity."""
