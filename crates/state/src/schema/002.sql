-- Version 2: what was parked by a clock that was ahead is found by when it was parked.

CREATE INDEX parked_failed ON parked (route, last_failure_at);
