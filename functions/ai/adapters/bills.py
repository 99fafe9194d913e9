"""What calls cost, as a part of the transaction that stores what came of them."""

from __future__ import annotations

from functions.ai.adapters.dynamodb_budgets import settlement_writes
from functions.ai.adapters.dynamodb_usage import usage_writes
from functions.ai.domain.errors import HoldsExpiredError
from functions.ai.domain.turns import Bill
from servicekit.dynamodb import TransactionRefusedError, Write


def bill_writes(bill: Bill | None) -> list[Write]:
    """What the bill changes in usage and budgets. They come first in their transaction."""
    if bill is None:
        return []
    charges = [write for charge in bill.charges for write in usage_writes(charge)]
    return [*charges, *(settlement_writes(bill.settlement) if bill.settlement else ())]


def behind(refused: TransactionRefusedError, bill: int) -> TransactionRefusedError:
    """The refusal of what comes behind so many writes of a bill. Raises `HoldsExpiredError` where
    it is the bill that was refused.
    """
    failed = frozenset(n - bill for n in refused.failed if n >= bill)
    if not failed:
        raise HoldsExpiredError from None
    return TransactionRefusedError(
        failed, {n - bill: item for n, item in refused.items.items() if n >= bill}
    )
