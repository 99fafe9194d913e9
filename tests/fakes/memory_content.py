"""The AI service's bucket in memory."""

from functions.ai.domain.ports import ContentFacts


class MemoryContent:
    """`ports.ContentStore`; `reads` are the keys that were got, in their order."""

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket
        self.objects: dict[str, tuple[str, bytes]] = {}
        self.reads: list[str] = []
        self.heads: list[str] = []
        self.failure: Exception | None = None

    async def put(self, key: str, media_type: str, data: bytes) -> None:
        self._fail()
        self.objects[key] = (media_type, data)

    async def get(self, key: str) -> bytes | None:
        self._fail()
        self.reads.append(key)
        found = self.objects.get(key)
        return found[1] if found else None

    async def head(self, key: str) -> ContentFacts | None:
        self._fail()
        self.heads.append(key)
        found = self.objects.get(key)
        return ContentFacts(found[0], len(found[1])) if found else None

    async def delete_prefix(self, prefix: str) -> None:
        self._fail()
        self.objects = {k: v for k, v in self.objects.items() if not k.startswith(prefix)}

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure
