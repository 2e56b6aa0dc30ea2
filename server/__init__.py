"""How do many clients share one root folder?

gRPC in front, the embedded engine behind. One place wraps every RPC with identity, admission, deadline, metrics and
errors; the services translate messages to calls of the engine, which run in threads.
"""
