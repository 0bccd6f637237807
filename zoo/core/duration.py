"""Durations in words."""


def duration(seconds: float) -> str:
    """Seconds as people say them: "45 s", "2 min", "1 h 20 min"."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
