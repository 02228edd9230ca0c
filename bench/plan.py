"""How long, how often and how much. Seconds unless the name says otherwise."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """`rounds`: how often each side takes its turn; `other_rounds`: the tag's batches, deliveries in batches, posts at
    1 and 256. Durations are of one turn."""

    name: str
    rounds: int
    other_rounds: int
    warm_up: int
    run: int
    settle: int
    idle: int
    batched_deliveries: int
    single_deliveries: int
    longest_drain: int
    bare_client: int
    stored: tuple[int, ...]
    stored_rounds: int
    stored_warm_up: int
    visitors: tuple[int, ...]
    page_views: int


FULL = Plan(
    name="full",
    rounds=3,
    other_rounds=2,
    warm_up=1,
    run=4,
    settle=8,
    idle=10,
    batched_deliveries=120_000,
    single_deliveries=20_000,
    longest_drain=15,
    bare_client=3,
    stored=(10_000_000,),
    stored_rounds=2,
    stored_warm_up=6,
    visitors=(100_000, 10_000_000),
    page_views=41,
)
QUICK = Plan(
    name="quick",
    rounds=1,
    other_rounds=1,
    warm_up=1,
    run=2,
    settle=3,
    idle=5,
    batched_deliveries=50_000,
    single_deliveries=10_000,
    longest_drain=6,
    bare_client=2,
    stored=(200_000,),
    stored_rounds=1,
    stored_warm_up=3,
    visitors=(100_000, 1_000_000),
    page_views=21,
)
