"""How does a program use an outcrop that runs elsewhere?

The same objects, methods, results and errors as embedded, over gRPC. Nothing of the engine is imported here, so a
client needs neither the core nor faiss. Channels are opened at the first call, by each process for itself.
"""
