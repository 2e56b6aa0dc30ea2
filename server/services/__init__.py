"""What does each RPC do? One class a service, one coroutine an RPC, all thin: the engine does the work."""
