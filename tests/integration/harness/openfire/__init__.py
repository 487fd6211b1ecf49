# SPDX-License-Identifier: Apache-2.0
"""A stand-in for Openfire: what it shows clients and components, its faults included."""

from .server import COMPONENT, HOST, REMOTE_HOST, OpenfireStandIn

__all__ = ["COMPONENT", "HOST", "REMOTE_HOST", "OpenfireStandIn"]
