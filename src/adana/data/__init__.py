"""Text to tokens to batches addressed by step."""
