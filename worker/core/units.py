"""Times, sizes and shares as a person reads them."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """Seconds.

    >>> duration(None), duration(3.21), duration(75), duration(7321)
    ('–', '3.2 s', '1 min 15 s', '2 h 2 min')
    """
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def span(us: int) -> str:
    """A difference of two times, in microseconds.

    >>> span(-7), span(1_250), span(2_500_000)
    ('-7 µs', '1.2 ms', '2.5 s')
    """
    if abs(us) < 1_000:
        return f"{us} µs"
    return f"{us / 1_000:.1f} ms" if abs(us) < 1_000_000 else f"{us / 1_000_000:.1f} s"


def milliseconds(elapsed_us: int | None) -> str:
    """Microseconds, in milliseconds; the platform's own times are whole milliseconds, often 0.

    >>> milliseconds(None), milliseconds(34), milliseconds(1_250), milliseconds(3_210_499)
    ('–', '0.034 ms', '1.25 ms', '3,210 ms')
    >>> milliseconds(0), milliseconds(1_000)
    ('<1 ms', '1 ms')
    """
    if elapsed_us is None:
        return "–"
    if elapsed_us == 0:
        return "<1 ms"
    is_whole = elapsed_us % 1_000 == 0
    digits = 0 if is_whole else 3 if elapsed_us < 1_000 else 2 if elapsed_us < 10_000 else 0
    return f"{elapsed_us / 1000:,.{digits}f} ms"


def size(octets: int) -> str:
    """Bytes.

    >>> size(512), size(2_048), size(3_500_000_000)
    ('512 B', '2.0 KB', '3.3 GB')
    """
    value = float(octets)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TB"


def percent(share: float) -> str:
    """A share from 0 to 1; only all reads as 100 %, and only none as 0 %.

    >>> percent(1), percent(0.99999), percent(0.923), percent(0.00001), percent(0)
    ('100 %', '99.9 %', '92.3 %', '0.1 %', '0 %')
    """
    if share in (0, 1):
        return f"{share * 100:.0f} %"
    return f"{min(max(share * 100, 0.1), 99.9):.1f} %"
