"What several tests share."
import os, signal, subprocess, sys
from pathlib import Path
import pytest

# A shell that starts us in the background lets us, and all our children, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN: signal.signal(signal.SIGINT, signal.default_int_handler)

COMMAND = Path(sys.executable).parent / 'colorize-nb'

def cli(*words, cwd=None, timeout=600, **kwargs):
    "Run `colorize-nb` in a process of its own."
    return subprocess.run([COMMAND, *map(str, words)], capture_output=True, text=True, cwd=cwd, timeout=timeout,
                          **kwargs)

@pytest.fixture(scope='session')
def soak(): return bool(os.environ.get('SOAK'))

@pytest.fixture(scope='session')
def model(tmp_path_factory):
    "A model folder with untrained networks: everything but the colours can be tried with it."
    import torch
    from colorize_nb.features import save_net, similarity_net
    from colorize_nb.unet import UNet, save_unet
    folder = tmp_path_factory.mktemp('model')
    torch.manual_seed(0)
    save_net(similarity_net('L', 'untrained')[0], folder / 'features.safetensors')
    save_unet(UNet(width=8), folder / 'unet.safetensors')
    return folder
