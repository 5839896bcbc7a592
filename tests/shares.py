"Small jobs in float32 on drawn flowers, for one process or several: shares.py JOB FOLDER [FIRST SEEN STEP TO STOP AT]"
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch
import numpy as np
import torch
from colorize_nb.data.photos import PhotoSet
from colorize_nb.features import similarity_net
from colorize_nb.fusion import ExemplarNet
from colorize_nb.lite2 import Lite2
from colorize_nb.train import exemplar, loop
from colorize_nb.train.distributed import add_up, share, synchronised, weight, world
from colorize_nb.train.pairs import PairCache, draw_pairs, make_config
from colorize_nb.unet import UNet

def flowers(): return PhotoSet.drawn(n=40, size=64, seed=1)

def learn(folder, stop=None, cache=None): # cache: of another run
    "The first epochs of a long run, batches of 7; what is there goes on. `stop`: fail in this step."
    net, judge = (similarity_net(space, 'untrained')[0] for space in ('L', 'RGB'))
    config = make_config('tiny', epochs=6, batch_size=7, lr_max=1e-5, alpha=0.05, hue_rotation=0.5, copies=0.5,
                         limit=28, checkpoint_every=3)
    step = loop.Trainer.step
    def stopping(self, *batch):
        if self.run.step == stop: raise KeyboardInterrupt
        return step(self, *batch)
    with patch.object(loop, 'bf16_pays', lambda device: False), patch.object(loop.Trainer, 'step', stopping):
        loop.train(flowers(), folder, config, net, judge, cache=cache or Path(folder).parent / 'cache',
                   resume=(Path(folder) / 'config.json').exists(), quiet=True)

def match(folder):
    "The matches of all pairs."
    net = similarity_net('L', 'untrained')[0]
    pairs, _ = draw_pairs(replace(flowers(), classes=['all'], labels=flowers().labels * 0), make_config('tiny'), net)
    with world(): PairCache(folder, flowers(), pairs, net, batch=5, quiet=True)

def stars(folder):
    "Four steps of the default model, 5 stars each."
    torch.manual_seed(0)
    config = replace(exemplar.ExemplarConfig(), stars=5, steps=4, first=2, period=2, size=64, wrong=0.5)
    exemplar.train_exemplar([flowers()], folder, config, ExemplarNet(Lite2(1)).eval(), cache=folder, quiet=True)

def gradient(file):
    "Loss, gradients and statistics of a U-Net in double precision, 7 pictures, written by each process."
    torch.manual_seed(0)
    net, x, y = UNet(width=4).double().train(), *(torch.randn(7, n, 32, 32).double() for n in (13, 2))
    with world():
        net, mine = synchronised(net), share(7)
        loss = torch.nn.functional.mse_loss(net(x[mine]), y[mine]) * weight(len(x[mine]))
        loss.backward()
        loss, grads = loss.detach(), [p.grad for p in net.parameters()]
        add_up([loss, *grads])
    np.save(file, torch.cat([v.double().flatten() for v in (loss, *grads, *net.buffers())]).numpy())

JOBS = {'learn': learn, 'match': match, 'stars': stars, 'gradient': gradient}
if __name__ == '__main__': JOBS[sys.argv[1]](sys.argv[2], *(int(word) if word.isdigit() else word for word in sys.argv[3:]))
