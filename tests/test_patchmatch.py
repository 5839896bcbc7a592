"Properties that every matcher is held to, against the readable specification."
import os, subprocess, sys, threading
import pytest, torch
from hypothesis import given, settings, strategies as st
from colorize_nb.core.chance import mix
from colorize_nb.match.field import Field, compose, lift, score, unfold_patches, warp
from colorize_nb.match.pyramid import METHODS, match, match_both, match_pyramid
from colorize_nb.match.workers import spread
from colorize_nb.match.exact import _group_torch, exact_both

FAST = ('patchmatch', 'exact')
sides = st.integers(1, 20)
some = settings(max_examples=20, deadline=None)

def noise(seed, *shape): return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

def all_scores(t, r, k=3): return unfold_patches(t, k) @ unfold_patches(r, k).transpose(1, 2)

def check(field, t, r, k=3):
    "Indices in range, and the similarity is that of the match."
    assert field.index.shape == field.similarity.shape == (len(t), *t.shape[2:])
    assert field.index.dtype == torch.int64 and field.similarity.dtype == torch.float32
    assert 0 <= field.index.min() and field.index.max() < r.shape[2]*r.shape[3]
    assert (field.similarity - score(t, r, field.index, k)).abs().max() < 1e-5

@pytest.fixture(autouse=True)
def threads():
    "Tests may change torch's threads."
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)

@given(st.integers(0, 99), st.integers(1, 2), st.sampled_from([1, 2, 3, 16, 33, 64]), sides, sides, sides, sides,
       st.sampled_from([1, 3, 5]))
@some
def test_any_shape(seed, b, c, h, w, h2, w2, k):
    t, r = noise(seed, b, c, h, w), noise(seed + 1, b, c, h2, w2)
    every = all_scores(t, r, k)
    for method in FAST:
        a, z = match_both(t, r, method, patch_size=k, iters=2, seed=seed)
        check(a, t, r, k); check(z, r, t, k)
        if method == 'exact':
            assert (a.similarity.flatten(1) - every.amax(2)).abs().max() < 1e-5
            assert (z.similarity.flatten(1) - every.amax(1)).abs().max() < 1e-5

@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('shapes', [((1, 7), (7, 1)), ((1, 1), (1, 1)), ((1, 1), (5, 6)), ((9, 4), (3, 8))])
def test_thin_and_unequal_maps(method, shapes):
    t, r = (noise(i, 2, 3, *s) for i, s in enumerate(shapes))
    a, z = match_both(t, r, method, iters=2)
    check(a, t, r); check(z, r, t)

@pytest.mark.parametrize('channels', [1, 5, 64, 512])
def test_many_channels(channels):
    t, r = noise(0, 1, channels, 9, 8), noise(1, 1, channels, 7, 10)
    for method in FAST:
        a, z = match_both(t, r, method)
        check(a, t, r); check(z, r, t)

@pytest.mark.parametrize('method', METHODS)
def test_similarity_never_falls(method):
    t, r = noise(0, 1, 4, 10, 10), noise(1, 1, 4, 10, 10)
    before = torch.full((1, 10, 10), -1.)
    for iters in range(5):
        now = match(t, r, method, iters=iters).similarity
        assert (now >= before).all()
        before = now

@given(st.integers(0, 99), st.integers(2, 24), st.integers(2, 24))
@some
def test_exact_on_itself(seed, h, w):
    x = noise(seed, 1, 3, h, w)
    x[..., : w//2] = 0
    zero = (unfold_patches(x).norm(dim=2) == 0).view(1, h, w)
    found = match(x, x, 'exact').similarity
    assert (found[~zero] - 1).abs().max() < 1e-5 if (~zero).any() else True
    assert (found[zero] == 0).all()

def test_ties_go_to_the_lowest_index():
    t, r = torch.ones(1, 2, 5, 6), torch.ones(1, 2, 4, 7)
    a, z = match_both(t, r, 'exact')
    assert (a.index == 0).all() and (z.index == 0).all()
    for x in (torch.zeros(1, 2, 5, 6), torch.ones(1, 2, 5, 6)):
        for method in METHODS:
            found = match(x, r, method)
            check(found, x, r)

def test_identity_is_kept():
    x = noise(3, 2, 8, 40, 33)
    own = torch.arange(40*33).view(1, 40, 33).expand(2, -1, -1)
    for method in ('patchmatch', 'reference'):
        small = (x[..., :10, :10],
                 own[:, :1, :1]*0 + torch.arange(100).view(1, 10, 10)) if method == 'reference' else (x, own)
        assert (match(small[0], small[0], method, iters=2, init=small[1]).index == small[1]).all()

@given(st.integers(0, 99), st.sampled_from([1, 3, 32, 64]), st.integers(24, 48), st.integers(0, 9), st.integers(0, 9))
@settings(max_examples=10, deadline=None)
def test_shifted_copy(seed, c, n, dy, dx):
    big = noise(seed, 1, c, n + dy, n + dx)
    t, r = big[..., dy:, dx:].contiguous(), big[..., :n, :n].contiguous()
    y, x = torch.meshgrid(torch.arange(1, n - dy - 1), torch.arange(1, n - dx - 1), indexing='ij')
    found = match(t, r, 'patchmatch').index[0, 1:n - dy - 1, 1:n - dx - 1]
    assert (found == (y + dy)*n + x + dx).float().mean() > 0.95

def test_same_seed_same_field_at_any_thread_count():
    t, r = noise(0, 3, 5, 50, 41), noise(1, 3, 5, 37, 66)
    for method in FAST:
        seen = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            seen += [[x for f in match_both(t[:b], r[:b], method, iters=2, seed=7) for x in f] for b in (1, 3)]
        for one in seen[2:]: assert all(torch.equal(x, y) for x, y in zip(one, seen[len(one[0]) == 3]))

def test_another_seed_another_field():
    t, r = noise(0, 1, 4, 40, 40), noise(1, 1, 4, 40, 40)
    a, b = (match(t, r, 'patchmatch', iters=1, seed=seed).index for seed in (0, 1))
    assert (a != b).any()

@pytest.mark.parametrize('bad', [float('nan'), float('inf'), -float('inf')])
@pytest.mark.parametrize('method', METHODS)
def test_nan_and_infinity_are_refused(method, bad):
    x = torch.ones(1, 1, 4, 4)
    y = x.clone(); y[0, 0, 1, 2] = bad
    with pytest.raises(ValueError, match='reference: features hold NaN or infinite'): match(x, y, method)
    with pytest.raises(ValueError, match='target: features hold NaN or infinite'): match(y, x, method)

@pytest.mark.parametrize('scale', [1e-30, 1e-12, 1e12, 1e30])
def test_scale_does_not_matter(scale):
    t, r = noise(0, 1, 3, 12, 12), noise(1, 1, 3, 12, 12)
    for method in FAST:
        assert torch.allclose(match(t*scale, r*scale, method).similarity, match(t, r, method).similarity, atol=1e-5)

@pytest.mark.parametrize('wrong, words', [
    (dict(method='fastest'), "unknown method 'fastest'"), (dict(patch_size=4), 'odd'),
    (dict(init=torch.zeros(1, 3, 3, dtype=torch.int64)), 'init: expected shape'),
    (dict(init=torch.full((1, 4, 4), 16)), '0..15'), (dict(reference=torch.ones(1, 2, 4, 4)), 'differ'),
    (dict(reference=torch.ones(1, 1, 4)), 'reference: expected'),
    (dict(reference=torch.ones(1, 1, 0, 4)), 'reference: expected'),
    (dict(reference=torch.ones(1, 1, 1, 5000)), '4096')])
def test_mistakes_are_one_line(wrong, words):
    given = dict(target=torch.ones(1, 1, 4, 4), reference=torch.ones(1, 1, 4, 4)) | wrong
    with pytest.raises(ValueError) as error: match(**given)
    assert words in str(error.value) and '\n' not in str(error.value)

def test_exact_under_a_cap():
    t, r = noise(0, 2, 3, 40, 37), noise(1, 2, 3, 50, 21)
    wide = exact_both(t, r, memory=512)
    assert all(torch.equal(x, y) for a, b in zip(wide, exact_both(t, r, memory=1)) for x, y in zip(a, b))
    with pytest.raises(ValueError, match='1 MB'): exact_both(t, r, memory=0)

@pytest.mark.parametrize('memory', [1, 512])
def test_exact_in_torch_is_the_same(memory):
    t, r = noise(0, 1, 3, 19, 30), noise(1, 1, 3, 33, 12)
    for a, b in zip(exact_both(t, r), _group_torch(t, r, 3, memory)):
        assert torch.equal(a.index, b.index) and torch.allclose(a.similarity, b.similarity, atol=1e-6)

def test_near_exact_on_smooth_maps():
    t, r = (torch.nn.functional.interpolate(noise(i, 1, 32, 12, 12), (64, 64), mode='bicubic') for i in range(2))
    best, found = (match(t, r, m).similarity.mean() for m in ('exact', 'patchmatch'))
    assert found > 0.98*best

def test_pyramid():
    t, r = ([noise(i + s, 2, 4*2**i, 32 >> i, (24 >> i) + s) for i in range(4)] for s in (0, 1))
    for method in ('auto', *FAST):
        a, z = match_pyramid(t, r, method)
        for f, g, x, y in zip(a, z, t, r): check(f, x, y); check(g, y, x)
    plain = match_pyramid(t, r, 'patchmatch', coarse_to_fine=False)
    check(plain[0][0], t[0], r[0])
    with pytest.raises(ValueError, match='4 target maps but 3'): match_pyramid(t, r[:3])

@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.integers(1, 4))
@some
def test_lift_keeps_the_place_within_the_cell(h, w, h2, w2, scale):
    index = torch.randint(h2*w2, (2, h, w), generator=torch.Generator().manual_seed(h))
    at = lift(index, (h2, w2), (h2*scale, w2*scale), (h*scale, w*scale))
    y, x = torch.meshgrid(torch.arange(h*scale), torch.arange(w*scale), indexing='ij')
    cell = index[:, y // scale, x // scale]
    assert torch.equal(at, ((cell // w2)*scale + y % scale)*w2*scale + (cell % w2)*scale + x % scale)

def test_warp_and_compose_with_unequal_sizes():
    t, r = torch.rand(1, 2, 6, 8), torch.rand(1, 2, 10, 4)
    t2r, r2t = torch.randint(5*2, (1, 3, 4)), torch.randint(3*4, (1, 5, 2))
    there = compose(t2r, r2t)
    assert all(there[0, y, x] == r2t.flatten()[t2r[0, y, x]] for y in range(3) for x in range(4))
    direct, double = warp(r, t2r, (5, 2), (6, 8)), warp(t, there, (3, 4), (6, 8))
    for y in range(6):
        for x in range(8):
            q, p = int(t2r[0, y//2, x//2]), int(there[0, y//2, x//2])
            assert torch.equal(direct[0, :, y, x], r[0, :, q//2*2 + y%2, q%2*2 + x%2])
            assert torch.equal(double[0, :, y, x], t[0, :, p//4*2 + y%2, p%4*2 + x%2])
    own = torch.arange(12).view(1, 3, 4)
    assert torch.equal(warp(t, own, (3, 4), (6, 8)), t)

def test_hash_is_the_same_everywhere():
    numbers = torch.arange(1000) * 0x9E3779B1
    assert mix(numbers).tolist() == [mix(int(n)) for n in numbers]
    from colorize_nb.match.cpu import _mix
    assert mix(numbers).tolist() == [_mix(int(n)) for n in numbers]
    assert len(set(mix(torch.arange(100_000)).tolist())) == 100_000
    assert abs((mix(torch.arange(100_000)).double() / 2**32).mean() - 0.5) < 0.005

def test_tasks_within_tasks_do_not_wait_for_each_other():
    torch.set_num_threads(3)
    assert spread(lambda i: sum(spread(lambda j: i*j, range(10))), range(12)) == [45*i for i in range(12)]

def test_two_threads_at_once():
    t, r = noise(0, 4, 16, 40, 40), noise(1, 4, 16, 40, 40)
    alone, found = {m: match_both(t, r, m) for m in FAST}, {}
    def run(name, method): found[name] = match_both(t, r, method)
    workers = [threading.Thread(target=run, args=(i, FAST[i % 2])) for i in range(4)]
    for w in workers: w.start()
    for w in workers: w.join(60)
    for i in range(4): assert all(torch.equal(x, y) for a, b in zip(found[i], alone[FAST[i % 2]]) for x, y in zip(a, b))

class Matches(torch.utils.data.Dataset):
    "Matching inside of a worker, beside matching in the parent."
    def __len__(self): return 4
    def __getitem__(self, i): return match(noise(0, 1, 8, 30, 30), noise(1, 1, 8, 30, 30), 'patchmatch').index

def test_beside_data_loader_workers():
    t, r = noise(0, 1, 8, 30, 30), noise(1, 1, 8, 30, 30)
    torch.set_num_threads(2)
    before = match(t, r, 'patchmatch').index
    loader = torch.utils.data.DataLoader(Matches(), batch_size=1, num_workers=2, timeout=120)
    for found in loader:
        assert torch.equal(found[0], before)
        assert torch.equal(match(t, r, 'patchmatch').index, before)

def test_gpu_pass_has_a_specification_that_nears_exact():
    from colorize_nb.match.cuda import JUMPS, _keys, exchange, pass_spec
    t, r = (torch.nn.functional.interpolate(noise(i, 1, 8, 6, 6), (24, 20), mode='bicubic') for i in range(2))
    a, b = unfold_patches(t), unfold_patches(r)
    every = a @ b.transpose(1, 2)
    f, g = (Field(i, s.gather(2, i[..., None])[..., 0]) for i,
            s in ((torch.randint(480, (1, 480)), every), (torch.randint(480, (1, 480)), every.transpose(1, 2))))
    for it in range(8):
        last = f.similarity
        f = exchange(f, g); g = exchange(g, f)
        keys = [_keys(0, 1, it, d, 'cpu') for d in range(2)]
        f, g = (pass_spec(a, b, (24, 20), (24, 20), f, g.index, JUMPS[it % 3], keys[0]),
                pass_spec(b, a, (24, 20), (24, 20), g, f.index, JUMPS[it % 3], keys[1]))
        assert (f.similarity >= last).all()
    assert (f.similarity - every.gather(2, f.index[..., None])[..., 0]).abs().max() < 1e-5
    assert f.similarity.mean() > 0.98*every.amax(2).mean()

IN_SIMULATOR = r"""
import sys, warnings; sys.setswitchinterval(1e-6); warnings.simplefilter('ignore')
import torch
from colorize_nb.match.field import Field, score, unfold_patches
from colorize_nb.match import cuda as gpu
assert gpu.SIMULATED
torch.manual_seed(0)
size, size2, radii = (12, 12), (10, 12), (4, 1)
t, r = torch.rand(1, 6, *size), torch.rand(1, 6, *size2)
a, b = unfold_patches(t), unfold_patches(r)
index, other, head = torch.randint(120, (1, 144)), torch.randint(144, (1, 120)), 4
side = gpu._Side(gpu.pack(t, None, head, 3), gpu.pack(r, None, head, 3), head, 2, 3, (index,))
start = (a[0] * b[0][index[0]]).sum(1)[None]
assert torch.equal(side.index, index) and (side.sims - start).abs().max() < 1e-5
keys = gpu._keys(0, 1, 0, 0, 'cpu')
found = side.sweep(other, keys, 2, torch.tensor(radii))
spec = gpu.pass_spec(a, b, size, size2, Field(index, start), other, 2, keys, radii)
same = (found[0] == spec.index) | ((found[1] - spec.similarity).abs() < 1e-5)
assert same.all() and (found[1] > start).float().mean() > 0.5
small = [torch.rand(2, 3, 5, 6), torch.rand(2, 3, 4, 5)]
for field, x, y in zip(gpu.patchmatch_both(*small, iters=1, half=True), small, small[::-1]):
    assert (score(x, y, field.index) - field.similarity).abs().max() < 1e-5
print('agrees', float((found[0] == spec.index).float().mean()))
"""

def test_gpu_kernel_in_the_simulator():
    done = subprocess.run([sys.executable, '-c', IN_SIMULATOR], env=os.environ | {'NUMBA_ENABLE_CUDASIM': '1'},
                          capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'agrees' in done.stdout

@pytest.mark.parametrize('capability, half', [((7, 5), False), ((8, 0), False), ((9, 0), False), ((9, 0), True)])
def test_gpu_kernel_builds_without_spills(capability, half):
    pytest.importorskip('numba_cuda', reason="numba-cuda is not installed: pip install 'colorize_nb[cuda13]'")
    pytest.importorskip('cuda.bindings.nvjitlink',
                        reason="nvJitLink is not installed: pip install 'colorize_nb[cuda13]'")
    from colorize_nb.match.cuda import kernel_resources
    built = kernel_resources(capability, half)
    assert f'.target sm_{capability[0]}{capability[1]}' in built['ptx'] and 'shfl.sync' in built['ptx']
    assert built['spill_stores'] == built['spill_loads'] == 0 and built['registers'] <= 168
    assert ('cvt.f32.f16' in built['ptx']) == half
    assert '.f64' not in built['ptx']
