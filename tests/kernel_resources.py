"What the GPU kernel takes of a card: built here, for a card that need not be here; wants the `cuda13` extra."
import re
from types import SimpleNamespace
from unittest.mock import patch
from cuda.bindings import nvjitlink
from numba import types
from numba.cuda import compile_ptx
from colorize_nb.match import cuda as kernels

def kernel_resources(capability=(9, 0), half=False):
    "PTX text, registers, and bytes of spill stores and loads a thread, for a compute capability."
    feats, i64 = (types.float16 if half else types.float32)[:, ::1], types.int64
    side, field, sims = (feats, types.float32[:, :, ::1], i64, i64), i64[:, ::1], types.float32[:, ::1]
    signature = *side, *side, i64, i64, i64, field, sims, field, field, sims, i64[::1], i64, i64[::1]
    parts, here = (kernels._mix, kernels._warp_sum, kernels._dot, kernels._propose), type(kernels.sweep).__module__
    for part in parts: part.overloads.clear()
    with patch(f'{here}.get_current_device', lambda: SimpleNamespace(compute_capability=capability)):
        ptx, _ = compile_ptx(kernels.sweep.py_func, signature, cc=capability)
    for part in parts: part.overloads.clear()
    log = link(ptx.encode(), capability)
    return dict(ptx=ptx, registers=int(re.search(r'Used (\d+) registers', log)[1]),
                **{f'spill_{kind}': int(re.search(rf'(\d+) bytes spill {kind}', log)[1])
                   for kind in ('stores', 'loads')})

def link(ptx, capability):
    "nvJitLink's report on PTX turned into machine code."
    handle = nvjitlink.create(2, [f'-arch=sm_{capability[0]}{capability[1]}', '-verbose'])
    nvjitlink.add_data(handle, nvjitlink.InputType.PTX, ptx, len(ptx), 'sweep')
    nvjitlink.complete(handle)
    log = bytearray(nvjitlink.get_info_log_size(handle))
    nvjitlink.get_info_log(handle, log)
    nvjitlink.destroy(handle)
    return log.decode()

if __name__ == '__main__':
    for capability in ((7, 5), (8, 0), (9, 0)):
        print(capability, {k: v for k, v in kernel_resources(capability).items() if k != 'ptx'})
