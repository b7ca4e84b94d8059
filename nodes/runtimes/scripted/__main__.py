"""Start the agent: ``python -m nodes.runtimes.scripted [--pace N] [--login-required] [--slow SECONDS]``."""

import argparse
import queue
import signal
import sys
import threading
import time
from pathlib import Path

from . import memory
from .story import AUTH_REQUIRED, INTERNAL_ERROR, play
from .turn import Session, Turn
from .wire import Cancelled, Message, RpcError, Wire

NAME = "scripted (demo)"
VERSION = "1.0"
INVALID_PARAMS = -32602


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
                case "session/load":
                    self.wire.answer(message, self.load)
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
        capabilities = {"loadSession": True}
        return {
            "protocolVersion": 1,
            "agentCapabilities": capabilities,
            "agentInfo": {"name": NAME, "version": VERSION},
        }

    def open(self, params: Message) -> Message:
        if self.options.login_required:
            raise RpcError(AUTH_REQUIRED, "Authentication required")
        session = Session(memory.new_id(), Path(params["cwd"]), params.get("mcpServers", []))
        self.sessions[session.id] = session
        return {"sessionId": session.id}

    def load(self, params: Message) -> Message:
        """Take up an earlier process's session, and tell it again, as the protocol wants it."""
        session = Session(params["sessionId"], Path(params["cwd"]), params.get("mcpServers", []))
        remembered = memory.recall(session.id)
        if remembered is None:
            raise RpcError(INVALID_PARAMS, "There is no such session")
        self.sessions[session.id] = session
        session.remembered = remembered
        told = Turn(self.wire, session)
        for prompt in remembered:
            told.chunk(prompt, "user_message_chunk")
            told.chunk("(what was answered)")
        return {}

    def work(self) -> None:
        """Run turns until the input ends."""
        while message := self.prompts.get():
            self.wire.answer(message, self.run)

    def run(self, params: Message) -> Message:
        turn = Turn(self.wire, self.sessions[params["sessionId"]], self.options.pace)
        try:
            prompt = "\n".join(block.get("text", "") for block in params["prompt"])
            memory.remember(turn.session.id, prompt)
            play(turn, prompt)
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
