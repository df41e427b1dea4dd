"""The integrator's application of the forum thread, and what four of the answers make of it.

usage: gunicorn 'app:make("NAME")', NAME one of thread, redis, background, memory
"""

import json
import os
import queue
import sqlite3
import threading
import time

from flask import Flask, request

DATABASE = os.environ.get("DATABASE", "events.db")


def write_event(payload):
    """Writes to the database; while the file `down` is there it is down."""
    if os.path.exists("down"):
        raise ConnectionError("the database is down")
    database = sqlite3.connect(DATABASE, timeout=30)
    with database:
        database.execute("INSERT INTO events (n) VALUES (?)", (payload["n"],))
    database.close()


def make(name):
    app = Flask(__name__)
    waiting = queue.Queue()

    @app.post("/thread")
    def thread():
        # As it stands in the question.
        try:
            write_event(request.get_json())
            return "", 200
        except Exception:
            return "", 500

    @app.post("/redis")
    def push():
        # "Push it to Redis and return 200; still return 200 to stop the retries."
        import redis

        try:
            payload = request.get_json()
            redis.Redis(port=int(os.environ["REDIS_PORT"])).lpush("gc_events", json.dumps(payload))
            return "", 200
        except Exception as error:
            app.logger.error(f"Queue push failed: {error}")
            return "", 200

    @app.post("/background")
    def background():
        # "Return 200 immediately and offload: use a background thread for database writes."
        threading.Thread(target=write_event, args=[request.json]).start()
        return "", 200

    def drain():
        while True:
            payload = waiting.get()
            while True:
                try:
                    write_event(payload)
                    break
                except Exception:
                    time.sleep(0.2)

    @app.post("/memory")
    def memory():
        # "Events are now pushed to a local queue before persistence."
        waiting.put(request.get_json())
        return "", 200

    if name == "memory":
        threading.Thread(target=drain, daemon=True).start()
    return app
