# SPDX-License-Identifier: Apache-2.0
"""The spool's files (component/record.h): what is in them, and how to make that older."""

import struct

# magic, crc, length, kind, epoch, received_us, position, stream_at
HEADER = struct.Struct(">IIIIQqQQ")
MAGIC = 0xFF5853FE
DATA = 3  # a kind: bytes of the stream


def _make_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _make_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def text(folder):
    """The bytes of the streams in one link's spool, as far as they are written."""
    found = b""
    for path in sorted(folder.iterdir()):
        try:
            data, at = path.read_bytes(), 0
        except FileNotFoundError:  # nobody needs it any more
            continue
        while at + HEADER.size <= len(data):
            magic, _, length, kind, *_ = HEADER.unpack_from(data, at)
            if magic != MAGIC:
                break
            at += HEADER.size
            if kind == DATA:
                found += data[at:at + length]
            at += length
    return found


def make_older(folder, seconds):
    """Every record of one link's spool was received so much earlier; returns how many."""
    changed = 0
    for path in folder.iterdir():
        data, at = bytearray(path.read_bytes()), 0
        while at + HEADER.size <= len(data):
            magic, crc, length, kind, epoch, received_us, *rest = HEADER.unpack_from(data, at)
            end = at + HEADER.size + length
            if end > len(data) or crc32c(data[at + 8:end]) != crc:
                break  # not a record: another file of the folder
            HEADER.pack_into(data, at, magic, 0, length, kind, epoch,
                             received_us - seconds * 1000000, *rest)
            struct.pack_into(">I", data, at + 4, crc32c(data[at + 8:end]))
            at, changed = end, changed + 1
        if at:
            path.write_bytes(data)
    return changed
