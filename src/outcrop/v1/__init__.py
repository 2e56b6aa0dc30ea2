"""Wire messages of outcrop.v1, generated from proto/outcrop/v1 when the package is built."""
