"""Many runs: executors, the race, sweeps and their searches."""
