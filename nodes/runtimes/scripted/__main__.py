"""Start the agent: ``python -m nodes.runtimes.scripted [--pace N] [--login-required] [--slow SECONDS]``."""

import argparse
import queue
import signal
import sys
import threading
import time
from pathlib import Path

from .story import AUTH_REQUIRED, INTERNAL_ERROR, play
from .turn import Session, Turn
from .wire import Cancelled, Message, RpcError, Wire

NAME = "scripted (demo)"
VERSION = "1.0"


class Agent:
    """Reads on a thread of its own; turns run on the main thread, one after the other."""

    def __init__(self, wire: Wire, options: argparse.Namespace) -> None:
        self.wire = wire
        self.options = options
        self.sessions: dict[str, Session] = {}
        self.prompts: queue.SimpleQueue[Message | None] = queue.SimpleQueue()

    def read(self) -> None:
        for message in self.wire.read():
            match message["method"]:
                case "initialize":
                    self.wire.answer(message, self.initialize)
                case "session/new":
                    self.wire.answer(message, self.open)
                case "session/prompt":
                    self.wire.cancelled.clear()
                    self.prompts.put(message)
                case "session/cancel":
                    self.wire.cancelled.set()
                case method if "id" in message:
                    error = {"code": -32601, "message": f"Method not found: {method}"}
                    self.wire.send({"id": message["id"], "error": error})
        self.prompts.put(None)

    def initialize(self, params: Message) -> Message:
        time.sleep(self.options.slow)
        return {"protocolVersion": 1, "agentCapabilities": {}, "agentInfo": {"name": NAME, "version": VERSION}}

    def open(self, params: Message) -> Message:
        if self.options.login_required:
            raise RpcError(AUTH_REQUIRED, "Authentication required")
        session = Session(f"scripted-{len(self.sessions) + 1}", Path(params["cwd"]))
        self.sessions[session.id] = session
        return {"sessionId": session.id}

    def work(self) -> None:
        """Run turns until the input ends."""
        while message := self.prompts.get():
            self.wire.answer(message, self.run)

    def run(self, params: Message) -> Message:
        turn = Turn(self.wire, self.sessions[params["sessionId"]], self.options.pace)
        try:
            play(turn, "\n".join(block.get("text", "") for block in params["prompt"]))
        except Cancelled:
            turn.stop_reason = "cancelled"
        except OSError as error:
            raise RpcError(INTERNAL_ERROR, f"{error.filename}: {error.strerror}") from error
        return {"stopReason": turn.stop_reason} | ({"usage": turn.usage} if turn.usage else {})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m nodes.runtimes.scripted", description=__doc__)
    parser.add_argument("--version", action="version", version=f"{NAME} {VERSION}")
    parser.add_argument("--pace", type=float, default=1.0, help="stretch all pauses; 0 leaves none")
    parser.add_argument("--login-required", action="store_true", help="refuse sessions for want of a login")
    parser.add_argument("--slow", type=float, default=0.0, metavar="SECONDS", help="take so long to initialize")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    agent = Agent(Wire(), parser.parse_args())
    threading.Thread(target=agent.read, daemon=True).start()
    agent.work()
    sys.stdout.flush()


if __name__ == "__main__":
    main()
