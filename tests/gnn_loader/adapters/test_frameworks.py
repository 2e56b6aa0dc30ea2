"""The frameworks are the real ones, work here, and stay out of processes that do not ask for them."""

import subprocess
import sys

import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.loader import ImbalancedSampler

WITHOUT_DGL = sys.version_info >= (3, 12)


@pytest.mark.parametrize("module", ["outcrop", "outcrop.embedded", "outcrop.cli.app", "outcrop.gnn_loader"])
def test_outcrop_loads_no_framework_by_itself(module: str) -> None:
    program = f"import sys, {module}; print(sorted({{'torch', 'dgl', 'torch_geometric'}} & sys.modules.keys()))"

    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


def test_pyg_works_with_this_torch() -> None:
    data = Data(x=torch.eye(3), edge_index=torch.tensor([[0, 1], [1, 2]]), y=torch.tensor([0, 0, 1]))

    assert data.validate()
    assert len(ImbalancedSampler(data)) == 3


@pytest.mark.skipif(WITHOUT_DGL, reason="DGL's wheels end with Python 3.11")
def test_dgl_works_with_this_torch() -> None:
    import dgl

    graph = dgl.graph((torch.tensor([0, 1]), torch.tensor([1, 2])))
    loader = dgl.dataloading.DataLoader(graph, torch.tensor([2]), dgl.dataloading.NeighborSampler([-1, -1]))

    [(inputs, outputs, blocks)] = list(loader)

    assert dgl.__version__.startswith("1.1.3")
    assert sorted(inputs.tolist()) == [0, 1, 2]
    assert outputs.tolist() == [2]
    assert [block.num_edges() for block in blocks] == [2, 1]
