"The README says what the index notebook says, and what it links to is there."
import re
from readme import readme, root

def test_readme_is_the_index(): assert (root / 'README.md').read_text(encoding='utf-8') == readme()

def test_links_lead_somewhere():
    for target in re.findall(r'\]\((?!https?:|#)([^)#]+)', readme()): assert (root / target).exists(), target
