"""A Bedrock runtime that does as the message says: streams in time, fails, hangs.

Directives stand in double square brackets in the last user message, several in one pair or apart:

    [[chunks=10 delay=0.2]]     ten chunks, 0.2 s apart
    [[text=Grüße]]              answer with this text (up to the closing brackets)
    [[stop=max_tokens]]         the stop reason
    [[fail=ThrottlingException]]    fail before the first byte
    [[fail_after=3]]            fail after three chunks; with `fail=` as that exception
    [[hang]] [[hang_after=2]]   send nothing (more) until the client leaves
    [[cut_after=2]]             close the connection after two chunks
    [[thinking=Hm]] [[redacted]]    reason first: in words with a signature; out of sight
    [[tool=weather {"city": "Köln"}]]   call a tool; the arguments leave as they are, JSON or not
    [[input=10 output=5 cache_read=3 cache_write=2]]    tokens used
    [[step]]                    wait for `BedrockServer.step` before each chunk but the first
    [[at=claude-haiku-4-5 fail=overloaded]]     only that model does so, another as the rest says

Without a directive it answers deterministically, or hands the request on, unchanged, to an
upstream.
"""

from tests.fakes.bedrock_server.server import BedrockServer, RecordedCall

__all__ = ["BedrockServer", "RecordedCall"]
