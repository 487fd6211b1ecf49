# SPDX-License-Identifier: Apache-2.0
"""Real servers around the sidecar: PostgreSQL, ejabberd, the strict gateway, clients.

Everything runs as a child process on loopback with its data in one temporary
folder, without systemd, and ends with the test run however that ends.
"""
