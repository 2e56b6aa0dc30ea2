"""Train a GraphSAGE on minibatches that the server samples, assembles and streams.

python examples/train_pytorch.py grpc://127.0.0.1:7443

Needs PyTorch: pip install 'outcrop[torch]'. With a folder instead of a URL the losses are the same, number by number.
"""

import sys

import numpy as np
import torch
from torch.utils.data import DataLoader

import outcrop
from outcrop.gnn_loader.adapters.torch import MinibatchDataset
from outcrop.gnn_loader.adapters.train import GraphSage

NODES, CLASSES, EPOCHS = 5_000, 4, 3


def make_graph(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges [2, n] that mostly stay within a class, features that hint at it, the classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, NODES)
    by_class = [np.flatnonzero(labels == one) for one in range(CLASSES)]
    targets = rng.integers(0, NODES, 8 * NODES)
    within = np.array([by_class[labels[node]][node % len(by_class[labels[node]])] for node in targets])
    sources = np.where(rng.random(len(targets)) < 0.7, within, rng.integers(0, NODES, len(targets)))
    features = rng.normal(size=(NODES, 32)).astype(np.float32)
    features[np.arange(NODES), labels] += 1.0
    return np.stack([sources, targets]), features, labels


def main(place: str) -> None:
    """place: a folder, or the URL of a server."""
    edges, features, labels = make_graph()
    with outcrop.connect(place) as database:
        database.import_graph("social", edges, num_nodes=NODES).wait()
        database.import_features("social.x", features).wait()
        database.create_plan(
            "social-epochs", graph="social", features="social.x", seeds=np.arange(NODES), fanouts=[10, 5],
            batch_size=512, epochs=EPOCHS, cache_memory="1MiB",
        ).wait(progress=True)  # fmt: skip

        torch.manual_seed(0)
        model = GraphSage(32, 64, CLASSES, num_layers=2, dropout=0.0)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        classes = torch.from_numpy(labels)
        with database.plan("social-epochs") as plan, plan.loader() as loader:
            dataset = MinibatchDataset(loader)
            for epoch in range(EPOCHS):
                losses = []
                for minibatch in DataLoader(dataset, batch_size=None):
                    scores = model(minibatch.features["social.x"], minibatch)
                    loss = torch.nn.functional.cross_entropy(scores, classes[minibatch.seeds])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    losses.append(loss.item())
                print(f"epoch {epoch}: loss {np.mean(losses):.6f}")


if __name__ == "__main__":
    main(sys.argv[1])
