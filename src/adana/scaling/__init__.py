"""What stored runs say together: compute multipliers (laws and plans stand on the same ground)."""
