"""A message that is sent again under its key, when its words no longer name whom it went to."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from mailboxes.addresses import Address
from mailboxes.errors import DedupeConflict
from mailboxes.sending import find_sent

from ..models import Run
from ..teams.models import ALL
from .addressing import STARTER, TEAM, Recipients, names_of


def went_to(
    project_id: UUID, words: Sequence[str], *, sender: Address, dedupe_key: str | None, run: Run | None = None
) -> Recipients | None:
    """To whom the sender's message of this key went, though they are gone by now; None if there is no such message.

    Raises ``DedupeConflict`` where ``words`` mean others than those.
    """
    if not dedupe_key or not dedupe_key.isprintable():  # no key is otherwise, and no database takes NUL
        return None
    sent = find_sent(project_id, sender, dedupe_key)
    if sent is None:
        return None
    audience = next((f"{TEAM}{word.removeprefix(TEAM)}" for word in words if word == ALL or word.startswith(TEAM)), "")
    is_same = len(words) == 1 if audience else _mean(words, sent.to, run)
    if audience != sent.audience or not is_same:
        raise DedupeConflict(dedupe_key=dedupe_key, message_id=str(sent.message_id))
    return Recipients(sent.to, audience)


def _mean(words: Sequence[str], addresses: Sequence[Address], run: Run | None) -> bool:
    """Whether the words name just these. Who has no name any more is taken for one whose word is nobody's."""
    names = names_of(addresses)
    meant = whom_named(words, names, run)
    left = set(addresses) - set(meant.values())
    return len(set(words) - meant.keys()) == len(left) and not any(names[address] for address in left)


def whom_named(words: Sequence[str], names: Mapping[Address, str], run: Run | None = None) -> dict[str, Address]:
    """By word, whom of those with these names it means; a word that means nobody is left out."""
    order = sorted(names, reverse=True)  # a bare name is an agent's before it is a person's
    called = {word: address for address in order for word in _words_for(address, names[address], run)}
    found = {word: called.get(word) or called.get(word.lower()) for word in words}
    return {word: address for word, address in found.items() if address}


def _words_for(address: Address, name: str, run: Run | None) -> set[str]:
    """What names an address whose name this is: ``mender``, ``harbour/mender``, its id, each with its kind too."""
    plain = {address.id, name, name.rpartition("/")[2], name.partition(":")[2]} - {""}
    is_starter = run is not None and (address.kind, address.id) == ("user", str(run.user_id))
    return plain | {f"{address.kind}:{word}" for word in plain} | ({STARTER} if is_starter else set())
