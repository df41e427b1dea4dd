"""What the forum's integrator runs: a Flask application that writes each webhook into its database.

How it fares is said by the file `mode` beside it: up, 503 (a proxy's word), 404 (a bad deployment), or hang, which
hangs on events that say {"hang": true}. Its database is in the folder `db`; without that every request is an
error of SQLite's, which Flask answers 500.
"""

import pathlib
import sqlite3
import time

from flask import Flask, abort, request

app = Flask(__name__)
here = pathlib.Path(__file__).parent


@app.post("/hook")
def hook():
    mode = (here / "mode").read_text().strip()
    if mode in ("503", "404"):
        abort(int(mode))
    event = request.get_json()
    if mode == "hang" and event.get("hang"):
        time.sleep(3600)
    database = sqlite3.connect(here / "db" / "events.db", timeout=30)
    with database:
        database.execute(
            "INSERT INTO events (id, n) VALUES (?, ?) ON CONFLICT (id) DO NOTHING",
            (request.headers["forebay-event-id"], event["n"]),
        )
    database.close()
    return "", 204
