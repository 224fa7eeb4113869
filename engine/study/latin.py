"""Orders of arms: a Latin square over cases and readers, balanced for what comes before what.

Source: Williams, "Experimental designs balanced for the estimation of residual effects of
treatments", Australian Journal of Scientific Research 1949.
"""

from __future__ import annotations

from engine.study.chance import stream, turn


def williams(size: int) -> tuple[tuple[int, ...], ...]:
    """Rows of treatments 0 to size - 1; one square, or two where the size is odd.

    In each square every treatment stands once in every place; over all rows every treatment
    follows every other equally often.
    """
    base = [(n + 1) // 2 if n % 2 else (size - n // 2) % size for n in range(size)]
    squares = [base] if size % 2 == 0 else [base, base[::-1]]
    return tuple(
        tuple((value + row) % size for value in first) for first in squares for row in range(size)
    )


def arm_order(
    arms: tuple[str, ...], seed: int, study: str, reader: int, rank: int
) -> tuple[str, ...]:
    """Arms of one case for one reader, in the order of reading.

    Args:
        arms: Ids.
        seed: Of the study. study: Its code.
        reader: Place of the reader in the protocol, from 0.
        rank: Place of the case among the reader's cases, from 0.

    Over each block of as many cases as there are arms, every arm has every place once; so it has
    over as many readers.
    """
    size = len(arms)
    named = list(arms)
    stream(seed, study, "arms").shuffle(named)
    rows = williams(size)
    square = (rank // size) % (len(rows) // size)
    row = (turn(seed, study, "arm rows", size, rank) + reader) % size
    return tuple(named[value] for value in rows[square * size + row])


def session_of(place: int, arms: int, sessions: int, shift: int) -> int:
    """Session, from 1, of the arm in a place of a case's order.

    Arms go through the sessions one after another, as evenly as their numbers allow; `shift`,
    0 to sessions - 1, says which sessions have the larger share.
    """
    return 1 + (place * sessions + shift) // arms


def shift_of(arms: int, sessions: int, seed: int, study: str, reader: int, rank: int) -> int:
    """The shift of `session_of` for one case of one reader.

    It is the same within a block of as many cases as there are arms, so that every session holds
    every arm equally often; over as many blocks as there are sessions, each shift is used once.
    """
    return (turn(seed, study, "session shifts", sessions, rank // arms) + reader) % sessions
