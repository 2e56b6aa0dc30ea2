"""How do the minibatches reach PyTorch, PyG and DGL?

The only place that imports them. Each module speaks one framework's own interfaces, so that its loaders and models
work unchanged: `torch` (datasets of tensors), `pyg` (stores, sampler, Data), `dgl` (storages, sampler, blocks);
`sources` takes graphs and tensors that a framework holds into the storage tier. Nothing is imported from here until
it is asked for: `from outcrop.gnn_loader.adapters import pyg`.
"""
