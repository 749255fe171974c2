"""From JSON lines to Markdown."""

import json
import statistics

from . import cells, measure, peers

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
SINGLE, JOINED = "bare", "bare-joined"
NATIVE, SOCKETIOXIDE = "denrei-native", "socketioxide"


def render(files):
    records = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    about = [record["about"] for record in records if "about" in record]
    results = {}
    for record in records:
        if "about" not in record:
            results.setdefault(record["case"], {}).setdefault(record["peer"], []).append(record)
    texts = [provenance(about[-1])] if about else []
    for case in cells.CASES:
        if case.title in results:
            measure_case = results.get(case.measured_by or case.title, {})
            texts.append(f"### {case.title}\n\n{case_table(results[case.title], measure_case)}")
    return "\n\n".join(texts) + "\n"


def provenance(about):
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"{about['date']}. {about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, TCP {about['congestion']}; "
        f"{about['rounds']} rounds of {about['secs']} s. Versions: {versions}."
    )


def case_table(results, floor):
    if any("rss_kb_per_conn" in record for records in results.values() for record in records):
        columns = IDLE
    elif any("cpu_us_per_delivery" in record for records in results.values() for record in records):
        columns = DELIVERY
    else:
        columns = REQUEST
    rows = [row(peer, records, floor, columns) for peer, records in results.items()]
    rows.sort(key=lambda row: row[0])
    used = [k for k in range(len(columns)) if any(row[1][k] for row in rows)]
    head = ["server", *(columns[k][0] for k in used)]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * len(used) + "|"]
    for _, figures, label in rows:
        lines.append("| " + " | ".join([label, *(figures[k] or "–" for k in used)]) + " |")
    return "\n".join(lines)


def row(peer, records, floor, columns):
    """The key to sort by, the figures, the label."""
    label = peers.LABELS.get(peer, peer)
    good = [record for record in records if "failed" not in record]
    if not good:
        return float("inf"), ["failed", *[""] * (len(columns) - 1)], label
    figures = [figure(good, floor) for _, figure in columns]
    order = statistics.median(first(record, (*measure.COSTS, "rss_kb_per_conn")) or 0 for record in good)
    return order, figures, label


def first(record, names):
    return next((record[name] for name in names if record.get(name) is not None), None)


def spread(*names):
    return lambda records, _: median_and_range([first(record, names) for record in records])


def middle(*names):
    return lambda records, _: middle_of([first(record, names) for record in records])


def ratio(peer):
    """Cost over that of another server, round by round."""
    def figure(records, floor):
        base = {record["round"]: first(record, measure.COSTS) for record in floor.get(peer, [])}
        pairs = [(first(record, measure.COSTS), base.get(record["round"])) for record in records]
        return median_and_range([cost / of for cost, of in pairs if cost and of], "×")
    return figure


def faults(records, _):
    sums = {name: sum(record.get(name) or 0 for record in records) for name in ("lost", "gaps", "errors")}
    # The messages of several publishers have no order.
    if any(record.get("publishers", 1) > 1 for record in records):
        del sums["gaps"]
    found = [f"{count:,} {name}" for name, count in sums.items() if count]
    # A server may decline the offer; its figure would be that of plain messages.
    if any("--deflate" in record.get("command", "") and not record.get("deflated_frames") for record in records):
        found.append("not deflated")
    return ", ".join(found)


def median_and_range(values, sign=""):
    values = sorted(value for value in values if value is not None)
    if not values:
        return ""
    text = short(statistics.median(values)) + sign
    return text if len(values) == 1 else f"{text} ({short(values[0])}–{short(values[-1])})"


def middle_of(values):
    values = [value for value in values if value is not None]
    return short(statistics.median(values)) if values else ""


def short(value):
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def write_docs(path, text):
    old = path.read_text()
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path} has no {BEGIN} … {END}")
    path.write_text(f"{before}{BEGIN}\n{text}{END}{after}")


LATENCY = [("p50 µs", middle("lat_p50_us")), ("p99 µs", middle("lat_p99_us"))]
STATE = [("RSS MB", middle("rss_after_mb")), ("core used", middle("server_util")), ("faults", faults)]
RATIOS = [
    ("to the bare loop", ratio(SINGLE)),
    ("to the joined loop", ratio(JOINED)),
    ("to native", ratio(NATIVE)),
    ("to socketioxide", ratio(SOCKETIOXIDE)),
]
DELIVERY = [
    ("CPU µs per delivery", spread("cpu_us_per_delivery")),
    *RATIOS,
    ("deliveries/s", middle("deliveries_per_s")),
    *LATENCY,
    ("bytes each", middle("bytes_per_delivery")),
    *STATE,
]
REQUEST = [
    ("CPU µs each", spread("cpu_us_per_msg", "cpu_us_per_handshake")),
    *RATIOS,
    ("per s", middle("msgs_per_s", "handshakes_per_s")),
    *LATENCY,
    *STATE,
]
IDLE = [
    ("RSS KB per connection", spread("rss_kb_per_conn")),
    ("RSS MB before", middle("rss_base_mb")),
    *STATE,
]
