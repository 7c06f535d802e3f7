"""How Sphinx builds these pages: ``make docs``.

The references of scenario and device files are made anew before each build, from the structs they describe.
"""

import sys
from pathlib import Path

_HERE = Path(__file__).parent
sys.path.insert(0, str(_HERE.parent))  # the checkout, installed or not

import blkcrypto  # noqa: E402
from scenarios.reference import write  # noqa: E402

write(_HERE / "reference")

project = "blkcrypto"
author = "The blkcrypto developers"
version = release = blkcrypto.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "blkcrypto"
html_show_copyright = False
html_show_sourcelink = False
napoleon_use_ivar = True  # or every documented attribute exists twice
autodoc_member_order = "bysource"
add_module_names = False
