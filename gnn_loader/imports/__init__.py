"""How do edges and rows of any order become a graph and a feature table, in bounded memory?

Edges are checked, sorted by destination on disk where they are not, and written as they lie ever after; rows are
encoded as they stream by. A killed import goes on where it was.
"""
