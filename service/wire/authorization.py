"""Where a call carries the client's token: HTTP bearer authorization, as a header of the call.

Source: RFC 6750, section 2.1.
"""

from __future__ import annotations

from typing import Final

AUTHORIZATION: Final = "authorization"
"""Key of the header; gRPC has them in lower case."""

BEARER: Final = "Bearer "
"""What stands before the token."""
