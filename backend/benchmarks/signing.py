"""How fast an order is signed: ours against eth-account, in the same run. ``python benchmarks/signing.py [ROUNDS]``.

Both make the same EIP-712 signature of the same order; the medians of interleaved rounds are compared, so that a busy
machine slows both. Also shows what ``AsterClient.place_order`` costs beyond the network.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import Callable
from decimal import Decimal
from time import perf_counter

from eth_account import Account
from eth_account.messages import encode_typed_data

from app.core.clock import SystemClock
from app.core.randomness import SystemRandomness
from app.domain.reports import Accepted, OrderRequest, OrderType, Side
from app.integrations.aster.auth import V3Credentials
from app.integrations.aster.client import AsterClient
from app.integrations.aster.signing import V3Signer
from app.integrations.aster.transport import Response

KEY = "0x4fd0a42218f3eae43a6ce26d22544e986139a01e5b34a62db53757ffca81bae1"  # published in the exchange's docs
USER = "0x63DD5aCC6b1aa0f563956C0e534DD30B6dcF7C4e"
CHAIN_ID = 1666
MESSAGE = (
    "symbol=BTCUSDT&side=BUY&type=MARKET&newClientOrderId=tes.0123456789abcdefghjk.e1&newOrderRespType=RESULT"
    "&quantity=0.01&nonce=1748310859508867&user=0x63DD5aCC6b1aa0f563956C0e534DD30B6dcF7C4e"
    "&signer=0x21cF8Ae13Bb72632562c6Fff438652Ba1a151bb0"
)
PER_ROUND = 200
ANSWER = (
    b'{"orderId":7,"symbol":"BTCUSDT","status":"FILLED","clientOrderId":"tes.0123456789abcdefghjk.e1","price":"0",'
    b'"avgPrice":"96000.10000","origQty":"0.010","executedQty":"0.010","cumQty":"0.010","cumQuote":"960.00100",'
    b'"timeInForce":"GTC","type":"MARKET","reduceOnly":false,"closePosition":false,"side":"BUY","positionSide":"BOTH",'
    b'"stopPrice":"0","workingType":"CONTRACT_PRICE","priceProtect":false,"origType":"MARKET",'
    b'"updateTime":1776802276050,"newChainData":{"hash":"0x5e569d9794cf726f72c2d000d401d20315e78e4df7b58023a489864624"}}'
)
BODIES = {
    "time": b'{"serverTime":1776802276050}',
    "exchangeInfo": (
        b'{"symbols":[],"rateLimits":['
        b'{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":1000000000},'
        b'{"rateLimitType":"ORDERS","interval":"MINUTE","intervalNum":1,"limit":1000000000},'
        b'{"rateLimitType":"ORDERS","interval":"SECOND","intervalNum":10,"limit":1000000000}]}'
    ),
}


def sign_with_eth_account(message: str) -> str:
    """The generic path, as its documentation shows it."""
    signable = encode_typed_data(
        domain_data={
            "name": "AsterSignTransaction",
            "version": "1",
            "chainId": CHAIN_ID,
            "verifyingContract": "0x" + "0" * 40,
        },
        message_types={"Message": [{"name": "msg", "type": "string"}]},
        message_data={"msg": message},
    )
    return "0x" + bytes(Account.sign_message(signable, KEY).signature).hex()


def microseconds_each(sign: Callable[[str], str]) -> float:
    """Mean of one round."""
    started = perf_counter()
    for _ in range(PER_ROUND):
        sign(MESSAGE)
    return (perf_counter() - started) / PER_ROUND * 1e6


class NoNetwork:
    """Answers at once, so that only the client's own work is measured."""

    async def request(self, _method: str, path: str, *_rest: object) -> Response:
        """The time, limits that hold nobody back, or a filled order."""
        return Response(200, {}, BODIES.get(path.rpartition("/")[2], ANSWER))

    async def close(self) -> None:
        """Nothing to close."""


async def place_order_microseconds(rounds: int) -> float:
    """Median over rounds of what one ``place_order`` takes without network."""
    clock = SystemClock()
    client = AsterClient(
        NoNetwork(),
        V3Credentials(user=USER, private_key=KEY, chain_id=CHAIN_ID),
        clock,
        SystemRandomness(),
    )
    await client.start()
    await client.instruments()
    request = OrderRequest(
        symbol="BTCUSDT",
        side=Side.BUY,
        type=OrderType.MARKET,
        client_order_id="tes.0123456789abcdefghjk.e1",
        quantity=Decimal("0.010"),
    )
    costs = []
    for _ in range(rounds):
        started = perf_counter()
        for _ in range(PER_ROUND):
            assert isinstance(await client.place_order(request), Accepted)
        costs.append((perf_counter() - started) / PER_ROUND * 1e6)
    return statistics.median(costs)


def main(rounds: int) -> None:
    """Print the table."""
    signer = V3Signer(KEY, CHAIN_ID)
    if signer.sign(MESSAGE) != sign_with_eth_account(MESSAGE):
        raise SystemExit("the two signatures differ: a rate would mean nothing")
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(microseconds_each(signer.sign))
        theirs.append(microseconds_each(sign_with_eth_account))
    mine, reference = statistics.median(ours), statistics.median(theirs)
    print(f"signing, median of {rounds} interleaved rounds of {PER_ROUND}")
    print(f"  ours          {mine:8.1f} us  {1e6 / mine:9,.0f} signatures/s")
    print(f"  eth-account   {reference:8.1f} us  {1e6 / reference:9,.0f} signatures/s")
    print(f"  ratio         {reference / mine:8.1f} x")
    print(f"place_order without network {asyncio.run(place_order_microseconds(rounds)):8.1f} us")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
