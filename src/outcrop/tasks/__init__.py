"""How does a task wait for what blocks?

Calls are made in threads and can be told to stop; a loader is waited for in one of its own. For embedded objects and
for those of a server alike.
"""

from outcrop.tasks.calls import Calls, give_back, shielded
from outcrop.tasks.loader import AsyncLoader

__all__ = ["AsyncLoader", "Calls", "give_back", "shielded"]
