import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Equality to the bit is promised with one thread."""
    torch.set_num_threads(1)
