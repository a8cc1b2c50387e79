"""Many runs: a pool of worker processes, the race, and the search for its learning rates."""
