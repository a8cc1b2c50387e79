"""Text to tokens to batches addressed by step.

1. ``sources`` give documents, each to train on or held out; 2. a ``tokenizer`` makes tokens of them; 3. ``dataset``
writes them into memory-mapped ``shards`` and opens them again; 4. ``batches`` takes a step's windows out of them.
``text`` is the race's short way: byte tokens of the standard library or of a few files, in memory.
"""
