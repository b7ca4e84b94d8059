import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.contract.events import MessageDelta
from nodes.contract.limits import EVENT_BYTES
from nodes.contract.record import BadFrame, Record, decode, encode, encode_raw, frames, origin_seq_of

records = st.lists(
    st.tuples(st.integers(1, 2**63), st.from_regex(r"\A[a-z.]{1,40}\Z"), st.binary(max_size=300)), max_size=8
)


@given(records, st.integers(-(2**62), 2**62))
def test_what_is_encoded_comes_back(made: list[tuple[int, str, bytes]], occurred: int) -> None:
    data = b"".join(encode_raw(seq, name, 1, payload, occurred) for seq, name, payload in made)
    assert [decode(body) for _, body in frames(data)] == [Record(s, occurred, 1, n, p) for s, n, p in made]


@given(st.binary(min_size=1, max_size=60), st.data())
def test_a_flipped_bit_is_found_and_the_good_prefix_kept(payload: bytes, data: st.DataObject) -> None:
    good = encode_raw(1, "a", 1, payload)
    bad = bytearray(encode_raw(2, "b", 1, payload))
    position = data.draw(st.integers(0, len(bad) - 1))
    bad[position] ^= 1 << data.draw(st.integers(0, 7))
    read: list[int] = []
    with pytest.raises(BadFrame) as found:
        read.extend(origin_seq_of(body) for _, body in frames(good + bytes(bad)))
    assert (read, found.value.offset) == ([1], len(good))


@given(st.integers(1, 70))
def test_a_torn_end_is_told_from_flipped_bytes(cut: int) -> None:
    whole = encode(1, MessageDelta(message_id="m", text="x" * 60))
    with pytest.raises(BadFrame) as found:
        list(frames(whole[:-cut]))
    assert found.value.is_torn


def test_a_payload_over_the_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="at most"):
        encode_raw(1, "a", 1, b"x" * (EVENT_BYTES + 1))
