"""`python3 -m etdnn COMMAND`."""

import sys

from etdnn.cli import main

sys.exit(main())
