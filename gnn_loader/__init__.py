"""Which rows does this minibatch need, and where are they?

Graphs and feature tables lie in the storage tier; minibatches are sampled ahead of their use, so the rows that each
will ask for are known, and every tier of memory keeps what will be needed soonest.
"""
