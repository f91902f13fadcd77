"""Small WebSocket servers that all do one job, so that one driver can compare them.

Each module here is a program, `python -m benchmarks.contenders.NAME CONNECTIONS`, with one contract:

1. it listens on a free port of 127.0.0.1 and prints `port N` on a line of its own;
2. it accepts WebSocket connections, and prints `full` once CONNECTIONS of them are ready to be written to;
3. for each line with a number B on standard input it sends B text messages (`control.MESSAGE`, 250 bytes) to every
   connection, as a server would that has B events waiting for one room;
4. at the end of standard input it exits, so that it never outlives the driver.

No contender compresses, pings or logs; nothing runs in it beside the broadcast. The driver measures its CPU from
outside.
"""
