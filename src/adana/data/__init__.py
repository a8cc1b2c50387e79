"""Text to tokens to batches addressed by step.

1. ``reading`` reads files in pieces of UTF-8.
2. ``sources`` (and ``santa_fe``) give the pieces of documents, each to train on or held out.
3. A ``tokenizer`` makes tokens of them.
4. ``writing`` puts these into memory-mapped ``shards``, and ``dataset`` opens a folder of shards.
5. ``batches`` takes the windows of one step out of them.

``text`` is what the race uses instead of 2 to 4: byte tokens of the standard library or of a few files, in memory.
"""
