"""What goes over the wire: a request into a body, a reply into pictures to decode, a status into an error.

The shapes are those of the service's documentation and of its users' reports; each is named where it is
read. Nothing here touches a socket.
"""

from .failures import read_error
from .incoming import Incoming
from .replies import Link, Reply, encode_request, read_reply

__all__ = ["Incoming", "Link", "Reply", "encode_request", "read_error", "read_reply"]
