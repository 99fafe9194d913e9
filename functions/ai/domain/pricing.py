"""What a call costs: prices per million tokens, by day and by the length of the prompt; exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any

from functions.ai.domain.inference import Usage

_MILLIONTH = -6
_PICO = 12
_THOUSAND_OF_A_MILLION = -3


@dataclass(frozen=True, slots=True)
class Rate:
    """Dollars per million tokens. A tier applies to all tokens of a call whose prompt is longer
    than the tier's bound; the highest such tier does.
    """

    base: Decimal
    tiers: tuple[tuple[int, Decimal], ...] = ()

    def of(self, prompt_tokens: int) -> Decimal:
        """The rate of a call with a prompt of this length, cached tokens included."""
        rate = self.base
        for bound, price in self.tiers:
            if prompt_tokens > bound:
                rate = price
        return rate


@dataclass(frozen=True, slots=True)
class Prices:
    """The rates of each bucket of a usage, from the day `since` on (UTC)."""

    since: date
    input: Rate
    output: Rate
    cache_read: Rate
    cache_write: Rate
    cache_write_1h: Rate
    reasoning: Rate

    def cost(self, usage: Usage) -> Decimal:
        """US dollars, exact."""
        length = usage.prompt
        total = (
            usage.input * self.input.of(length)
            + usage.cache_read * self.cache_read.of(length)
            + usage.cache_write * self.cache_write.of(length)
            + usage.cache_write_1h * self.cache_write_1h.of(length)
            + usage.output * self.output.of(length)
            + usage.reasoning * self.reasoning.of(length)
        )
        return total.scaleb(_MILLIONTH)

    def most(self, prompt_tokens: int, output_tokens: int) -> Decimal:
        """What a call costs at most: some providers keep a prompt unasked, and charge for it."""
        length = prompt_tokens
        prompt = max(self.input.of(length), self.cache_write.of(length))
        answer = max(self.output.of(length), self.reasoning.of(length))
        return (prompt_tokens * prompt + output_tokens * answer).scaleb(_MILLIONTH)


class PriceHistory:
    """A model's prices, the oldest first; at least one."""

    def __init__(self, prices: Sequence[Prices]) -> None:
        self._prices = tuple(prices)

    def at(self, moment: datetime) -> Prices:
        """The newest prices that apply; before the first day, the oldest."""
        day = moment.astimezone(UTC).date()
        found = self._prices[0]
        for prices in self._prices:
            if prices.since <= day:
                found = prices
        return found


def history_from(entries: Sequence[Mapping[str, Any]]) -> PriceHistory | None:
    """The prices of a model of `catalogue.json`; None where there are none."""
    return PriceHistory([_prices_from(entry) for entry in entries]) if entries else None


def per_thousand(rate: Rate) -> Decimal:
    """Dollars per thousand tokens of a call with a short prompt: the unit of the v1 wire."""
    return rate.base.scaleb(_THOUSAND_OF_A_MILLION)


def usd(amount: Decimal) -> str:
    """US dollars as a plain decimal number."""
    return f"{amount.normalize():f}"


def to_pico(amount: Decimal) -> int:
    """Whole pico-dollars, of which every price per token is a multiple; the rest is rounded up."""
    return int(amount.scaleb(_PICO).to_integral_value(ROUND_CEILING))


def from_pico(amount: int) -> Decimal:
    """The inverse of `to_pico`."""
    return Decimal(amount).scaleb(-_PICO)


def _prices_from(entry: Mapping[str, Any]) -> Prices:
    given = {name: _rate_from(rate) for name, rate in entry.items() if name != "from"}
    # What has no price of its own is charged as what it is a kind of.
    write = given.get("cache_write", given["input"])
    return Prices(
        since=date.fromisoformat(entry["from"]) if "from" in entry else date.min,
        input=given["input"],
        output=given["output"],
        cache_read=given.get("cache_read", given["input"]),
        cache_write=write,
        cache_write_1h=given.get("cache_write_1h", write),
        reasoning=given.get("reasoning", given["output"]),
    )


def _rate_from(rate: Any) -> Rate:
    base, *tiers = rate if isinstance(rate, list) else [rate]
    return Rate(Decimal(base), tuple((bound, Decimal(price)) for bound, price in tiers))
