"""Model providers behind one base URL, that do as the message says: stream, fail, hang.

Directives stand in double square brackets in the last user message, several in one pair or apart.
Content is text, thinking and arguments of tool calls; a chunk is one event that carries some.

What is said:

    [[chunks=10 delay=0.2]]     ten chunks of text, 0.2 s apart
    [[text=Grüße]]              answer with this text (up to the closing brackets)
    [[chunks=50 repeat]]        fifty times the same chunk
    [[thinking=Hm]] [[redacted]]    think first: in words; in a block that cannot be read
    [[tool=weather {"city": "Köln"}]]   call a tool; the arguments leave as they are, JSON or not
    [[stop=max_tokens]]         the stop reason, as the dialect spells it
    [[input=10 output=5 cache_read=3 cache_write=2 reasoning=1]]    tokens used, in buckets that
                                share none
    [[usage_last]] [[usage_never]]  say so in the last event alone; say nothing
    [[pings=3]]                 signs of life before the first content, `delay` apart

How it goes wrong:

    [[fail=overloaded]]         refuse; `dialect.FAILURES` has the names, a number is a bare status
    [[fail=rate_limit retry_after=7]]   with the header
    [[fail_after=3]]            200, and an error event after three chunks; with `fail=` that one
    [[wait=0.5]]                send the first byte after 0.5 s
    [[hang]] [[hang_after=2]]   send nothing (more) until the client leaves
    [[cut_after=2]]             close the connection after two chunks
    [[end_after=2]]             end the body, as if all was said, after two chunks
    [[drop=1]]                  close the connection instead of answering, the first time
    [[redirect]]                send the client to the same address again, with a 307
    [[close]]                   close the connection after the answer, unannounced
    [[split=1]] [[crlf]]        TCP writes of one byte, across characters and lines; lines end
                                with CRLF
    [[burst]]                   one TCP write for all that is sent
    [[step]]                    wait for `ProviderServer.step` before each chunk but the first

Who is asked:

    [[at=claude-haiku-4-5 fail=overloaded]]     only that model does so, another as the rest says

Without a directive it answers deterministically. A request that the provider would not take is
refused as the provider does. A dialect is a module with a class of `dialect.Dialect`.
"""

from tests.fakes.provider_server.calls import RecordedCall
from tests.fakes.provider_server.server import ProviderServer

__all__ = ["ProviderServer", "RecordedCall"]
