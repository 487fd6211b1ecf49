# SPDX-License-Identifier: Apache-2.0
"""What is read and unread, as everywhere, on Openfire."""

from test_read_state import *  # noqa: F403

KIND = "openfire"
