"""What a spool gives back: everything in order, or the good part of what is left."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodes.contract import record
from nodes.contract.events import Output, TurnCompleted
from nodes.server.spool import HEAD_BYTES, Position, SpoolReader, SpoolWriter, delete_acknowledged, segments_of


def write_spool(directory: Path, count: int = 30, **bounds: int) -> SpoolWriter:
    writer = SpoolWriter(directory, 1, **bounds)
    for number in range(1, count + 1):
        writer.append(Output(stream="stdout", text=f"line {number}"))
        if number % 7 == 0:
            writer.flush()
    writer.flush()
    return writer


def read_all(directory: Path, after: int = 0) -> list[record.Record]:
    reader = SpoolReader(directory, 1, after)
    found = []
    while batch := reader.read():
        records = [record.decode(body) for _, body in record.frames(batch.frames)]
        assert (batch.count, batch.first_seq, batch.last_seq) == (
            len(records),
            records[0].origin_seq,
            records[-1].origin_seq,
        )
        found += records
    return found


def seqs(directory: Path, after: int = 0) -> list[int]:
    return [found.origin_seq for found in read_all(directory, after)]


def flip(path: Path, at: int, mask: int = 0x40) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ mask]))


def test_every_record_comes_back_in_order_across_segments(tmp_path: Path) -> None:
    write_spool(tmp_path, 100, segment_bytes=500)
    assert len(segments_of(tmp_path, 1)) > 3
    assert seqs(tmp_path) == list(range(1, 101))


@pytest.mark.parametrize("after", [0, 1, 6, 7, 8, 50, 99, 100])
def test_reading_goes_on_behind_any_record(tmp_path: Path, after: int) -> None:
    write_spool(tmp_path, 100, segment_bytes=500)
    assert seqs(tmp_path, after) == list(range(after + 1, 101))


def test_batches_keep_to_their_bounds(tmp_path: Path) -> None:
    write_spool(tmp_path, 100)
    reader = SpoolReader(tmp_path, 1)
    assert reader.read(max_records=30).count == 30  # type: ignore[union-attr]
    batch = reader.read(max_bytes=400)
    assert batch is not None and batch.first_seq == 31 and len(batch.frames) <= 400


def test_nothing_is_read_beyond_what_was_announced(tmp_path: Path) -> None:
    writer = write_spool(tmp_path, 10)
    announced = writer.position
    writer.append(Output(stream="stdout", text="more"))
    writer.flush()
    reader = SpoolReader(tmp_path, 1)
    assert reader.read(until=announced).last_seq == 10  # type: ignore[union-attr]
    assert reader.read(until=announced) is None
    assert reader.read().last_seq == 11  # type: ignore[union-attr]


def test_a_reader_follows_a_writer(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, 1, segment_bytes=200)
    reader = SpoolReader(tmp_path, 1)
    for number in range(1, 40):
        assert reader.read() is None
        writer.append(Output(stream="stdout", text="x"))
        writer.flush()
        assert reader.read().last_seq == number  # type: ignore[union-attr]


def test_a_torn_tail_is_waited_at_and_read_once_it_is_whole(tmp_path: Path) -> None:
    write_spool(tmp_path, 5)
    frame = record.encode(6, Output(stream="stdout", text="late"))
    path = tmp_path / "spool-1-1"
    with path.open("ab") as file:
        file.write(frame[:11])
    reader = SpoolReader(tmp_path, 1)
    assert reader.read().last_seq == 5  # type: ignore[union-attr]
    assert reader.read() is None and reader.waiting_bytes() == 11
    with path.open("ab") as file:
        file.write(frame[11:])
    assert reader.read().last_seq == 6  # type: ignore[union-attr]
    assert reader.waiting_bytes() == 0


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_a_flipped_byte_costs_only_the_record_it_is_in(
    tmp_path_factory: pytest.TempPathFactory, share: float, mask: int
) -> None:
    directory = tmp_path_factory.mktemp("spool")
    write_spool(directory)
    path = directory / "spool-1-1"
    ends = [HEAD_BYTES]
    for after, _ in record.frames(path.read_bytes(), HEAD_BYTES):
        ends.append(after)
    at = HEAD_BYTES + int(share * (ends[-1] - HEAD_BYTES))
    hit = next(number for number, end in enumerate(ends) if at < end)
    flip(path, at, mask)
    assert seqs(directory) == [number for number in range(1, 31) if number != hit]


def test_every_byte_of_one_record_may_be_flipped(tmp_path: Path) -> None:
    write_spool(tmp_path, 3)
    path = tmp_path / "spool-1-1"
    ends = [after for after, _ in record.frames(path.read_bytes(), HEAD_BYTES)]
    for at in range(ends[0], ends[1]):
        flip(path, at)
        assert seqs(tmp_path) == [1, 3], f"byte {at}"
        flip(path, at)


def test_a_spool_cut_anywhere_gives_its_whole_records(tmp_path: Path) -> None:
    write_spool(tmp_path, 6)
    path = tmp_path / "spool-1-1"
    ends = [after for after, _ in record.frames(path.read_bytes(), HEAD_BYTES)]
    for size in range(path.stat().st_size, -1, -1):
        os.truncate(path, size)
        assert seqs(tmp_path) == [number for number, end in enumerate(ends, 1) if end <= size]


def test_a_damaged_head_costs_no_record(tmp_path: Path) -> None:
    write_spool(tmp_path, 100, segment_bytes=500)
    flip(tmp_path / "spool-1-2", 3)
    assert seqs(tmp_path) == list(range(1, 101))
    assert seqs(tmp_path, 95) == list(range(96, 101))


def test_a_new_writer_goes_on_behind_torn_bytes(tmp_path: Path) -> None:
    write_spool(tmp_path, 5).close()
    with (tmp_path / "spool-1-1").open("ab") as file:
        file.write(b"\x00\x00\x00\x30torn")
    writer = SpoolWriter(tmp_path, 1, next_seq=6)
    writer.append(Output(stream="stdout", text="after"))
    writer.flush()
    assert seqs(tmp_path) == [1, 2, 3, 4, 5, 6]


def test_the_bound_counts_what_the_hub_lacks(tmp_path: Path) -> None:
    writer = write_spool(tmp_path, 100, run_bytes=4_000, segment_bytes=500)
    assert writer.is_full
    writer.acknowledge(100)
    assert not writer.is_full


def test_types_that_must_survive_a_power_cut_are_synced_at_once(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, 1)
    writer.append(Output(stream="stdout", text="x"))
    writer.flush()
    assert writer.is_dirty
    writer.append(TurnCompleted(turn=1, stop_reason="end_turn"))
    writer.flush()
    assert not writer.is_dirty


def test_acknowledged_segments_go_and_the_last_stays(tmp_path: Path) -> None:
    writer = write_spool(tmp_path, 100, segment_bytes=500)
    first_of_last = segments_of(tmp_path, 1)[-1].first_seq()
    assert first_of_last is not None
    delete_acknowledged(tmp_path, 1, 50)
    assert seqs(tmp_path, 50) == list(range(51, 101))
    delete_acknowledged(tmp_path, 1, 100)
    assert [segment.number for segment in segments_of(tmp_path, 1)] == [writer.position.segment]
    assert Position(writer.position.segment) < writer.position


def test_a_full_disk_keeps_the_records_until_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = write_spool(tmp_path, 5)
    real_write = os.write

    def half_then_full(fd: int, data: bytes) -> int:
        if len(data) < 40:
            raise OSError(28, "No space left on device")
        return real_write(fd, bytes(data[: len(data) // 2]))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half_then_full)
        writer.append(Output(stream="stdout", text="x" * 100))
        assert not writer.flush()
    assert writer.is_full and seqs(tmp_path) == [1, 2, 3, 4, 5]
    assert writer.flush()
    assert seqs(tmp_path) == [1, 2, 3, 4, 5, 6]
