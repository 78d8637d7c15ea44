"""Draw a bar chart with plain characters, for a terminal that knows nothing else."""

BLOCKS = " ▏▎▍▌▋▊▉█"


def bar(value: float, largest: float, width: int) -> str:
    if largest <= 0 or width <= 0:
        return ""
    eighths = round(value / largest * width * 8)
    full, rest = divmod(eighths, 8)
    return BLOCKS[8] * full + (BLOCKS[rest] if rest else "")


def chart(sums: dict[str, float], width: int = 40) -> str:
    if not sums:
        return "nothing was picked\n"
    label_width = max(len(label) for label in sums)
    largest = max(sums.values())
    lines = []
    for label, value in sums.items():
        lines.append(f"{label:<{label_width}} {value:8.1f} {bar(value, largest, width)}")
    return "\n".join(lines) + "\n"
