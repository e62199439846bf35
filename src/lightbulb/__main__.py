import sys

from lightbulb.cli import main

sys.exit(main())
