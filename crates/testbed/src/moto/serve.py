"""moto's server, as its own command starts it, with a quicker clock.

It counts a queue's messages anew for each that is sent or received, and asks for the time at each: so a thousand
messages are some eight million looks at the clock, which moto builds a date for.
"""

import sys
import time

from moto.server import main
from moto.sqs import models

slow = models.unix_time_millis
models.unix_time_millis = lambda dt=None: time.time() * 1000 if dt is None else slow(dt)

main(sys.argv[1:])
