"""What the runs of bench/convergence say, as a table and a few sentences."""
import math
import statistics

import lab

# Where the table's columns begin: name and width.
COLUMNS = (("done", 6), ("u", 6), ("rounds", 16), ("MiB", 16), ("s", 20), ("downtime ms", 17),
           ("gap ms", 17), ("left pages", 20), ("bytes/QEMU", 19), ("time/QEMU", 19))


def name_of(case):
    return "%s, %d MiB/s, %d ms" % case


def waits_percent(row):
    """Of the run's time, for both machines together."""
    return 100 * row.get("waited_ms", 0) / max(row["total_ms"], 1)


def floor_ms(row):
    """Of the downtime; the fixed parts come on top."""
    if row["load"].startswith("u"):
        pages = max(0, 1 - 1 / max(row["u"], 0.01)) * row["working_set_mib"] * lab.MIB / lab.PAGE
    else:
        pages = row["hot_pages"]
    return pages * lab.WIRE_PAGE / row["goodput"] * 1e3


def of(rows, case, contender):
    return [row for row in rows if (row["load"], row["link_mib"], row["limit_ms"]) == case
            and row["contender"] == contender]


def contenders_of(rows):
    return list(dict.fromkeys(row["contender"] for row in rows))


def spread(values, form):
    """The median, and of more than one the least and the most."""
    values = sorted(v for v in values if v is not None)
    if not values:
        return "-"
    middle = form % statistics.median(values)
    return middle if len(values) == 1 else f"{middle} ({form % values[0]}, {form % values[-1]})"


def quantiles(values, form, shares=(50, 90, 99)):
    values = sorted(values)
    return ", ".join(f"p{share} " + form % values[min(share * len(values) // 100, len(values) - 1)]
                     for share in shares)


def ratios(ours, theirs, field):
    """Of runs of the same number, where both finished."""
    by_run = {row["run"]: row for row in theirs if row["completed"]}
    return [row[field] / by_run[row["run"]][field] for row in ours
            if row["completed"] and row["run"] in by_run and by_run[row["run"]].get(field)]


def cells(runs, theirs):
    done = [row for row in runs if row["completed"]]
    return (f"{len(done)}/{len(runs)}", "%.2f" % statistics.median(row["u"] for row in runs),
            spread([row["rounds"] for row in runs], "%d"),
            spread([row["wire_bytes"] / lab.MIB for row in runs if row["wire_bytes"]], "%.0f"),
            spread([row["total_ms"] / 1e3 for row in runs], "%.2f"),
            spread([row["downtime_ms"] for row in done], "%.0f"),
            spread([row["gap_ms"] for row in done], "%.0f"),
            spread([row["residual_pages"] for row in done], "%d"),
            spread(ratios(runs, theirs, "wire_bytes"), "%.2f"),
            spread(ratios(runs, theirs, "total_ms"), "%.2f"))


def table(rows, case):
    every = [row for row in rows if (row["load"], row["link_mib"], row["limit_ms"]) == case]
    if not every:
        return
    floor = statistics.median(floor_ms(row) for row in every)
    yield ""
    yield f"{name_of(case)} (floor {floor:.0f} ms)"
    yield " " * 18 + "".join(f"{name:{width}}" for name, width in COLUMNS).rstrip()
    for contender in contenders_of(every):
        texts = cells(of(rows, case, contender), of(rows, case, "qemu"))
        yield (f"  {contender:15} " + "".join(f"{text:{width}}" for text, (_, width)
                                              in zip(texts, COLUMNS))).rstrip()


def geometric(values):
    if not values:
        return "-"
    return "%.2f" % math.exp(statistics.fmean(map(math.log, values)))


def summary(rows, chosen, contender):
    """Over all cases: what it finishes, and the ratios to QEMU where both finish."""
    runs = [row for case in chosen for row in of(rows, case, contender)]
    done = sum(row["completed"] for row in runs)
    possible = [row for row in runs if floor_ms(row) <= row["limit_ms"]]
    finished = sum(row["completed"] for row in possible)
    text = (f"finished {done} of {len(runs)}; of {len(possible)} that are possible by the floor "
            f"{finished}")
    if contender != "qemu":
        pairs = [[ratio for case in chosen for ratio in
                  ratios(of(rows, case, contender), of(rows, case, "qemu"), field)]
                 for field in ("wire_bytes", "total_ms", "downtime_ms")]
        text += (f"; to QEMU, where both finish ({len(pairs[0])} pairs, geometric means): bytes "
                 f"{geometric(pairs[0])}, time {geometric(pairs[1])}, downtime {geometric(pairs[2])}")
    return text


def over(row):
    """Above the limit by more than 10 % and 15 ms."""
    return row["downtime_ms"] > row["limit_ms"] + max(15, row["limit_ms"] / 10)


def downtimes(runs):
    """How often the limit was missed, and how far off the downtime predicted at the pause was."""
    done = [row for row in runs if row["completed"]]
    text = f"{sum(map(over, done))} of {len(done)} above the limit by more than 10 % and 15 ms"
    off = [abs(row["downtime_ms"] - row["predicted_ms"]) for row in done if row.get("predicted_ms")]
    share = [abs(row["downtime_ms"] - row["predicted_ms"]) / row["downtime_ms"] * 100
             for row in done if row.get("predicted_ms")]
    promised = [row for row in done
                if row.get("x-ferry", {}).get("forecast", {}).get("outlook") == "meets"]
    if promised:
        text += f" ({sum(map(over, promised))} of {len(promised)} of those that it said would be met)"
    if off:
        text += f"; prediction off by {quantiles(off, '%.1f ms')} ({quantiles(share, '%.0f %%')})"
    return text


def told(row, outlook):
    """(ms, forecast): the first that says so."""
    return next(((ms, said) for ms, _, said in row.get("forecasts", [])
                 if said.get("outlook") == outlook), None)


def first_pass_ms(row):
    return row["working_set_mib"] * lab.MIB / row["goodput"] * 1e3


def early(row, passes):
    """What was said last in the time of so many first passes."""
    return [said for ms, _, said in row["forecasts"] if ms <= passes * first_pass_ms(row)][-1]


def verdicts(runs):
    """Where the floor is clearly above the limit: when that was said, and which floor."""
    hopeless = [row for row in runs if row.get("forecasts") and
                floor_ms(row) > 1.1 * row["limit_ms"]]
    said = [(row, told(row, "stalls")) for row in hopeless]
    said = [(row, *first) for row, first in said if first]
    if not hopeless:
        return
    yield f"cannot be met: {len(hopeless)} runs, {len(said)} of them told so"
    if said:
        passes = [ms / first_pass_ms(row) for row, ms, _ in said]
        floors = [forecast["floor_ms"] / floor_ms(row) for row, _, forecast in said]
        second = [early(row, 2).get("floor_ms", 0) / floor_ms(row) for row, _, _ in said]
        last = [row["forecasts"][-1][2].get("floor_ms", 0) / floor_ms(row) for row, _, _ in said]
        yield f"  told after {quantiles(passes, '%.2f', (50, 100))} times the first pass"
        yield (f"  floor told / true: at first {quantiles(floors, '%.2f', (10, 50, 90))}, in the "
               f"time of two passes {quantiles(second, '%.2f', (10, 50, 90))}, at last "
               f"{quantiles(last, '%.2f', (10, 50, 90))}")


def text(rows, chosen):
    lines = [line for case in chosen for line in table(rows, case)]
    for contender in contenders_of(rows):
        runs = [row for case in chosen for row in of(rows, case, contender)]
        if runs:
            lines += ["", contender, "  " + summary(rows, chosen, contender), "  " + downtimes(runs)]
            lines += ["  " + line for line in verdicts(runs)]
    return "\n".join(lines)
