"""Decoder-only models of the paper's ladders."""
