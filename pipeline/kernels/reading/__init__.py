"""Reading: where consecutive samples of a block lie, and their text, in one call (`cpu.cpp`).

`pipeline.stream.Stream.sample` is the specification, a sample at a time; it runs where there is no kernel.
"""
