"""When the program began: imported before anything slow."""

import time

STARTED = time.perf_counter()
