"""Which message asks for it, and what does the answer mean? Blocking and async classes share it."""
