"""How are minibatches made ready before their use?

They are sampled, scheduled against a cache that knows all of them, and the rows that it will miss are packed in the
order of use. Each stage leaves notes, so that a killed plan goes on; memory and disk are asked for before they are
used.
"""
