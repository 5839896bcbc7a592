"Made-up records in the layout of a run folder: for tests only, never for a figure that is shown."
import json
from pathlib import Path
import imageio.v3 as iio
import numpy as np

EDGES = np.linspace(-4, 4, 129)

def _counts(values):
    return np.histogram(np.clip(values, -3.999, 3.999), EDGES)[0].tolist()

def _hist(rng, spread, n=4096):
    target_a = np.where(rng.random(n) < .3, .05 * rng.standard_normal(n), rng.standard_normal(n))
    target_b = np.where(rng.random(n) < .3, -.73 + .05 * rng.standard_normal(n), .3 + rng.standard_normal(n))
    noise = .1 * rng.standard_normal((2, n))
    return {'pred_a': _counts(spread * target_a + noise[0]), 'pred_b': _counts(spread * target_b + noise[1]),
            'target_a': _counts(target_a), 'target_b': _counts(target_b)}

def picture(seed=0, size=128):
    "Five smooth coloured squares side by side, uint8 (size, 5 size, 3)."
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    tiles = [np.stack([np.sin(rng.uniform(2, 9) * (x + c * y) + rng.uniform(0, 6)) for c in range(3)], -1)
             for _ in range(5)]
    return (127.5 + 127.5 * np.concatenate(tiles, 1)).astype('uint8')

def make_run(folder, patchmatch=False, unstable=False, epochs=12, per_epoch=8, snapshots=True, seed=0, own=False):
    "A run folder as CONTRACT has it: config.json, record.jsonl, snapshots/open."
    folder, rng = Path(folder), np.random.default_rng(seed)
    folder.mkdir(parents=True)
    config = {'preset': 'tiny', 'seed': seed, 'epochs': epochs, 'batch_size': 8, 'width': 8, 'lr_start': 1e-5,
              'lr_max': 1e-3,
              'alpha': .1, 'patchmatch': patchmatch, 'hue_rotation': False, 'unstable': unstable}
    (folder / 'config.json').write_text(json.dumps(config))
    both = lambda value: {'chrominance': value, 'perceptual': .3 * value if patchmatch else None}
    lines = []
    for epoch in range(epochs + 1):
        spread = 0 if unstable and epoch else .6 if epoch == 0 else min(.9, .1 + epoch / epochs)
        value = 1.4 - .9 * min(1, epoch / epochs) * (not unstable)
        lines.append({'kind': 'epoch', 'epoch': epoch, 'step': epoch * per_epoch,
                      'train': both(value) if epoch else None,
                      'valid': both(value + .05),
                      'hist': {'last': _hist(rng, spread), 'fixed': _hist(np.random.default_rng(1), spread)}})
        for step in range(epoch * per_epoch, (epoch + 1) * per_epoch if epoch < epochs else 0):
            t = step / (epochs * per_epoch)
            branch = 'perceptual' if patchmatch and step % 2 else 'chrominance'
            lines.append({'kind': 'step', 'step': step, 'epoch': epoch, 'branch': branch,
                          'loss': value * np.exp(.1 * rng.standard_normal()),
                          'lr': 1e-5 + 1e-3 * np.sin(np.pi * t) ** 2, 'grad_norm': float(rng.uniform(.5, 2))}
                         | ({} if epoch else {'hist': _hist(rng, spread)}))
    (folder / 'record.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    if snapshots: make_snapshots(folder / 'snapshots' / 'open', range(0, epochs + 1, max(1, epochs // 6)), own)
    return folder

def make_snapshots(folder, epochs, own=False):
    "Grey, target, reference and predictions that blend from grey to the target."
    folder.mkdir(parents=True)
    target = picture()
    grey = np.repeat(target.mean(-1, keepdims=True), 3, -1)
    for name, image in {'target': target, 'reference': picture(1), 'grey': grey}.items():
        iio.imwrite(folder / f'{name}.png', image.astype('uint8'))
    for epoch in epochs:
        blend = grey + (target - grey) * epoch / max(epochs)
        iio.imwrite(folder / f'epoch-{epoch:04d}.png', blend.astype('uint8'))
        if own: iio.imwrite(folder / f'own-{epoch:04d}.png', blend.astype('uint8'))

def make_search(folder, space='L', n=4, seed=0):
    "A similarity search's folder: trials.jsonl; trial 1 is continued as the last one."
    folder, rng = Path(folder), np.random.default_rng(seed)
    folder.mkdir(parents=True)
    top, trials = {'RGB': .93, 'L': .86}[space], []
    for trial in range(n + 1):
        first, rise = (1 if trial == n else 0), rng.uniform(.5, 2)
        curve = [{'epoch': e, 'train_loss': float(1.6 * np.exp(-rise * e / 3)),
                  'valid_loss': float(1.5 * np.exp(-rise * e / 4)),
                  'accuracy': float(top * (1 - .6 * np.exp(-rise * e)))} for e in ([2, 3, 4, 5] if first else [1])]
        trials.append({'trial': trial, 'space': space, 'variant': 'all' if trial % 2 else 'head+bn',
                       'body_lr': 1e-4 * (trial + 1), 'head_lr': 1e-3,
                       'wd_bn': bool(trial % 2), 'epochs': len(curve), 'curve': curve, 'seconds': 60.0,
                       'continued_from': 1 if first else None})
    (folder / 'trials.jsonl').write_text(''.join(json.dumps(t) + '\n' for t in trials))
    return folder
