"Exemplar-based colorization of greyscale photographs."

__version__ = "0.1.0"

def __getattr__(name):
    "`from colorize_nb import Colorizer`: loaded when it is asked for, and nothing before."
    if name == 'Colorizer':
        from .colorizer import Colorizer
        return Colorizer
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
