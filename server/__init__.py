"""How do many clients share one root folder?

A gRPC server runs the same engine that runs embedded: services, admission and limits, authentication, metrics,
configuration. Messages are those of proto/; the engine below knows nothing of them.
"""
