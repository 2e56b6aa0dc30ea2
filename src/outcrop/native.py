"""The one door to the C++ core: every other module imports these names from here, never from `outcrop._core`."""
