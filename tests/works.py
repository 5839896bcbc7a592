"Work for worker processes that needs no model: tests of the machinery around it."
import os, signal, time
from dataclasses import dataclass
from PIL import Image
from colorize_nb.data.pictures import encode_picture

@dataclass(frozen=True)
class Say:
    "What a work is told."
    seconds: float = 0.
    log: str = '' # file that gets the name of each photograph that was worked on

def turning(how):
    "Rotate pictures; some names do harm."
    def work(task):
        if how.log:
            with open(how.log, 'a') as log: log.write(f'{task.target.name}\n')
        time.sleep(how.seconds)
        if 'killer' in task.target.name: os._exit(9)
        if 'bug' in task.target.name: raise KeyError('a bug')
        with Image.open(task.target) as picture: turned = picture.convert('RGB').rotate(180)
        return encode_picture(turned, task.output.suffix[1:]), {'references': []}
    return work

def broken(how): raise ValueError('no such folder of weights')

def murderous(how):
    "Rotate pictures; one name kills the process above, an actor."
    work = turning(how)
    def worse(task):
        if '0003' in task.target.name: os.kill(os.getppid(), signal.SIGKILL)
        return work(task)
    return worse
