"""Chance is drawn in pools and never given out twice."""

from __future__ import annotations

from app.core.randomness import SystemRandomness


def test_tokens_have_the_bits_asked_for_and_don_t_repeat() -> None:
    randomness = SystemRandomness()
    tokens = [randomness.token(55) for _ in range(2_000)]  # several pools
    assert len(set(tokens)) == len(tokens)
    assert max(tokens).bit_length() == 55
    assert min(randomness.token(1) for _ in range(100)) == 0
    assert {randomness.token(1) for _ in range(100)} == {0, 1}


def test_a_token_larger_than_a_pool_is_whole() -> None:
    assert SystemRandomness().token(100_000).bit_length() > 99_900
