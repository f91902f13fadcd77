"""Faults, one after the other, against the real server, the real nats-server and real sockets, on the real clock."""

import pytest

pytest.register_assert_rewrite("tests.faults.raw", "tests.faults.watch", "tests.faults.witnesses")
