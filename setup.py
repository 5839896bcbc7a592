"Reads settings.ini, the one place where name, version and requirements are written."
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

class BuildPy(build_py):
    "Takes the recorded split of the flower photos, kept in data/, into the package."
    def run(self):
        "Build, then copy."
        super().run()
        if not self.editable_mode:
            self.copy_file('data/flowers_split.csv', f'{self.build_lib}/colorize_nb/flowers_split.csv')

ini = ConfigParser(delimiters=['='], interpolation=None)
ini.read('settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']
extras = ('dev', 'graphs', 'bench', 'eval', 'heic', 'fuzz', 'app', 'train', 'ray', 'cuda12', 'cuda13')

setup(
    name=cfg['lib_name'],
    version=cfg['version'],
    description=cfg['description'],
    long_description=Path('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author=cfg['author'],
    author_email=cfg['author_email'],
    url=cfg['git_url'],
    license='Apache-2.0',
    keywords=cfg['keywords'],
    classifiers=[f'Programming Language :: Python :: 3.{minor}' for minor in (11, 12, 13)],
    cmdclass={'build_py': BuildPy},
    packages=find_packages(include=['colorize_nb', 'colorize_nb.*']),
    package_data={'colorize_nb': ['weights/**/*']},
    include_package_data=True,
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg['requirements'].split(),
    extras_require={name: cfg[f'{name}_requirements'].split() for name in extras},
    entry_points={'console_scripts': cfg['console_scripts'].split(),
                  'nbdev': [f"{cfg['lib_name']}={cfg['lib_name']}._modidx:d"]},
    zip_safe=False,
)
