# SPDX-License-Identifier: Apache-2.0
"""The spool's files (component/record.h), for tests that make its contents older."""

import struct

# magic, crc, length, kind, epoch, received_us, position, stream_at
HEADER = struct.Struct(">IIIIQqQQ")


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
