"""The four operations as a gRPC service. `board_pb2.py` is generated; the command is in `board.proto`."""
