"""A small web site for browsers: forms, a login, storage, and pages with the faults of the web."""

from __future__ import annotations

from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from tests.fakes.loopback_server import LoopbackServer

PASSWORD = "open sesame"

_PAGES = {
    "/": """<title>Home</title><h1>Welcome</h1><a href="/form">Form</a> <a href="/login">Log in</a>
<a href="https://example.com/far">Far</a><button>Nothing</button>""",
    "/login": """<title>Log in</title><form method="post" action="/login">
<label>Password <input name="password" type="password"></label><button>Log in</button></form>""",
    "/form": """<title>Form</title><label>Name <input id="name"></label>
<select id="colour"><option value="r">Red</option><option value="g">Green</option></select>
<label><input type="checkbox" id="agree"> Agree</label><input type="file" id="file">
<button id="go" onclick="document.title = document.querySelector('#name').value">Go</button>
<button class="twin">One</button><button class="twin">Two</button>
<button id="hidden" style="display:none">Hidden</button><p id="out"></p>
<script>document.querySelector('#file').onchange = async (e) =>
  document.querySelector('#out').textContent = await e.target.files[0].text();</script>""",
    "/storage": """<title>Storage</title><script>
localStorage.count = Number(localStorage.count || 0) + 1;
sessionStorage.count = Number(sessionStorage.count || 0) + 1;
const open = indexedDB.open('kept', 1);
open.onupgradeneeded = () => open.result.createObjectStore('things');
open.onsuccess = () => { const things = open.result.transaction('things', 'readwrite')
  .objectStore('things'); const got = things.get('count');
  got.onsuccess = () => { const count = (got.result || 0) + 1; things.put(count, 'count');
    document.title = `${localStorage.count} ${sessionStorage.count} ${count}`; }; };
</script><div style="height:5000px">long</div>""",
    "/alert": """<title>Alert</title><button onclick="document.title =
confirm('Really?') ? 'yes' : 'no'">Ask</button>""",
    "/popup": """<title>Popup</title><button onclick="window.open('/form')">Open</button>""",
    "/frames": """<title>Frames</title><iframe src="/form"></iframe>""",
    "/shadow": """<title>Shadow</title><div id="host"></div><script>
document.querySelector('#host').attachShadow({mode: 'open'}).innerHTML =
  '<button onclick="document.title = 1">Inside</button>';</script>""",
    "/tall": """<title>Tall</title><div style="height:30000px;background:linear-gradient(red,blue)">
</div>""",
    "/errors": """<title>Errors</title><script>console.error('it is wrong'); nothing.at.all;
</script>""",
    "/article": """<title>Article</title><h1>Head</h1><p>Some <b>bold</b> text.</p>
<script>var hidden = 1;</script>""",
}


class BrowserSite(LoopbackServer):
    """Serves the pages; `requests` are the paths in their order."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(type("Handler", (_Handler,), {"site": self}), port)
        self.requests: list[str] = []
        self.port: int = self._server.server_address[1]

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"


class _Handler(BaseHTTPRequestHandler):
    site: ClassVar[BrowserSite]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.site.requests.append(path)
        special = {
            "/me": self._me,
            "/slow": self._slow,
            "/loop": lambda: self._go("/loop"),
            "/file": self._file,
        }
        if path in special:
            special[path]()
        elif path in _PAGES:
            self._tell(_PAGES[path])
        else:
            self._tell("<title>Nothing</title>", status=404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        if parse_qs(body).get("password") == [PASSWORD]:
            self._go("/me", ("set-cookie", "user=ada; HttpOnly; Path=/"))
        else:
            self._tell("<title>Wrong</title>", status=403)

    def _me(self) -> None:
        user = SimpleCookie(self.headers.get("cookie", "")).get("user")
        name = user.value if user else "nobody"
        self._tell(f"<title>{name}</title><p id=who>{name}</p>")

    def _slow(self) -> None:
        if self.site.pause(30):
            self._tell("<title>Slow</title>")

    def _file(self) -> None:
        self._tell("a,b\n1,2\n", "text/csv", ("content-disposition", "attachment; filename=t.csv"))

    def _go(self, to: str, *headers: tuple[str, str]) -> None:
        self._tell("", "text/html", ("location", to), *headers, status=302)

    def _tell(
        self, text: str, kind: str = "text/html", *headers: tuple[str, str], status: int = 200
    ) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("content-type", f"{kind}; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing on the terminal."""
