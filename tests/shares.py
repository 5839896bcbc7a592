"Small jobs in float32 on drawn flowers, for one process or several: shares.py JOB FOLDER ..."
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch
import numpy as np
import torch
from colorize_nb.data.photos import PhotoSet
from colorize_nb.features import similarity_net
from colorize_nb.fusion import ExemplarNet
from colorize_nb.lite2 import Lite2
from colorize_nb.train import exemplar, loop
from colorize_nb.train.distributed import add_up, rank, share, synchronised, weight, world
from colorize_nb.train.pairs import PairCache, draw_pairs, make_config
from colorize_nb.unet import UNet

def flowers(): return PhotoSet.drawn(n=40, size=64, seed=1)

def learn(folder, stop=None, cache=None): # cache: of another run
    "The first epochs of a long run, batches of 7; what is there goes on. `stop`: fail in this step."
    net, judge = (similarity_net(space, 'untrained')[0] for space in ('L', 'RGB'))
    config = make_config('tiny', epochs=5, batch_size=7, lr_max=1e-5, alpha=0.05, hue_rotation=0.5, copies=0.5,
                         limit=28, checkpoint_every=3)
    step = loop.Trainer.step
    def stopping(self, *batch):
        if self.run.step == stop: raise KeyboardInterrupt
        return step(self, *batch)
    with patch.object(loop, 'bf16_pays', lambda device: False), patch.object(loop.Trainer, 'step', stopping):
        loop.train(flowers(), folder, config, net, judge, cache=cache or Path(folder).parent / 'cache',
                   resume=(Path(folder) / 'config.json').exists(), quiet=True)

def match(folder):
    "The matches of all pairs, of pictures that look alike."
    net, photos = similarity_net('L', 'untrained')[0], replace(flowers(), classes=['all'], labels=np.zeros(40, int))
    pairs, _ = draw_pairs(photos, make_config('tiny', limit=20), net)
    PairCache(folder, photos, pairs, net, batch=6, quiet=True)

def stars(folder):
    "Four steps of the default model, 5 stars each, whose pairs often reach into another star."
    torch.manual_seed(0)
    config = replace(exemplar.ExemplarConfig(), stars=5, steps=4, first=2, period=2, size=64, wrong=0.5)
    with patch.object(torch, 'autocast', partial(torch.autocast, enabled=False)):
        exemplar.train_exemplar([flowers()], folder, config, ExemplarNet(Lite2(1)).eval(), cache=folder, quiet=True)

def gradient(folder):
    "Loss, gradients and statistics of a U-Net in double precision, 7 pictures."
    torch.manual_seed(0)
    net, x, y = UNet(width=4).double().train(), *(torch.randn(7, n, 32, 32).double() for n in (13, 2))
    net, mine = synchronised(net), share(7)
    loss = torch.nn.functional.mse_loss(net(x[mine]), y[mine]) * weight(len(x[mine]))
    loss.backward()
    loss, grads = loss.detach(), [p.grad for p in net.parameters()]
    add_up([loss, *grads])
    folder.mkdir(exist_ok=True)
    np.save(folder / f'{rank()}.npy', torch.cat([v.double().flatten() for v in (loss, *grads, *net.buffers())]))

def threads():
    "The names of this process's threads, those outside Python too; nothing where there is no /proc."
    return [name.read_text() for name in Path('/proc/self/task').glob('*/comm')]

def several(folder):
    "All of these; who has left the others keeps no thread that talks to them."
    with world():
        for job in (match, stars, gradient): job(Path(folder) / job.__name__)
    if left := [name for name in threads() if 'gloo' in name]: sys.exit(f'threads outlive the group: {left}')

if __name__ == '__main__':
    {'learn': learn, 'several': several}[sys.argv[1]](*(int(word) if word.isdigit() else word for word in sys.argv[2:]))
