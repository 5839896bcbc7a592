"Damaged files of every format: no crash, none takes ten seconds, each refusal is one line."
import json, queue, subprocess, sys, threading
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent

def lines_of(child):
    "The child's lines as a queue; None at its end."
    lines = queue.Queue()
    def read():
        for line in child.stdout: lines.put(line)
        lines.put(None)
    threading.Thread(target=read, daemon=True).start()
    return lines

def test_mutated_files(soak):
    count, opened = 2000 if soak else 200, Counter()
    words = [sys.executable, HERE / 'fuzz_pictures.py', str(count)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        lines, last, done = lines_of(child), None, 0
        try:
            while (line := lines.get(timeout=60 if last is None else 20)) is not None:
                row = json.loads(line)
                last = row.get('start', last)
                if 'start' in row: continue
                done += 1
                opened[row['kind'], row['said'] is None] += 1
                assert row['seconds'] < 10, row
                said = row['said'] or 'the picture: opened'
                assert '\n' not in said and said.startswith('the picture: ') and len(said) < 400, row
        except queue.Empty:
            child.kill()
            raise AssertionError(f'file {last} hangs') from None
        printed = child.stderr.read()[-2000:]
        assert child.wait() == 0 and done == count and not printed, f'after file {last}: {printed}'
    print(json.dumps({f"{kind} {'opened' if good else 'refused'}": n for (kind, good), n in sorted(opened.items())}))
    assert len({kind for kind, _ in opened}) == 6 and sum(n for (_, good), n in opened.items() if not good) > count / 5
