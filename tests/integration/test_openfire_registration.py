# SPDX-License-Identifier: Apache-2.0
"""Device registration, as everywhere, on Openfire."""

from test_registration import *  # noqa: F403

KIND = "openfire"
