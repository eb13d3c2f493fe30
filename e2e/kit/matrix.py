"""Writes docs/reference/clients.md from what the cases noted: matrix.py ROWS LXC-VERSION INCUS-VERSION > clients.md

A row is one line of tab-separated text, as `row` in kit/trusted.sh writes it: command, between whom, client, protocol,
result, case.
"""

import sys

COLUMNS = [("lxc", "api"), ("incus", "api"), ("lxc", "simplestreams"), ("incus", "simplestreams")]
GROUPS = [
    ("Remotes", ("remote",)),
    ("Reading images", ("image list", "image info", "image show", "image get-property", "image export", "image alias list")),
    ("Changing images", ("image import", "image edit", "image set-property", "image unset-property", "image delete",
                         "image refresh", "image alias")),
    ("Copying images", ("image copy",)),
    ("Instances", ("launch", "init", "create", "publish")),
    ("Administration", ("config", "project", "operation", "monitor", "query", "info")),
    ("What is no image server's", ("launch, init", "list, profile", "network", "storage", "cluster")),
]

HEAD = """# What the clients can do

<!-- Written by `e2e/run --write-matrix`, from what the cases did. Change the cases, not this page. -->

Each line was done by the end-to-end cases with the unmodified clients, lxc {lxc} and incus {incus}, and was looked at on both sides: bytes
and fingerprints are compared at every hop. LXD and Incus stand for real daemons of the same versions; "API" is a remote of the LXD API, "streams" one of
simplestreams. "refused" is as it should be, "no" is what a client or a daemon cannot do; what is said then stands below, by its number. An empty field was not
tried, because the client or the protocol has nothing like it.
"""


def group_of(command):
    """The first group with a command that begins so; longer beginnings first."""
    best = None
    for title, beginnings in GROUPS:
        for beginning in beginnings:
            if command == beginning or command.startswith((beginning + " ", beginning + ",")):
                if best is None or len(beginning) > len(best[0]):
                    best = (beginning, title)
    return best[1] if best else "Other"


def read(path):
    """{(command, where): {(client, protocol): result}}, and the cases of each line. Two results for one field are an error."""
    lines, cases = {}, {}
    with open(path, encoding="utf-8") as file:
        for text in file:
            command, where, client, protocol, result, case = text.rstrip("\n").split("\t")
            if (client, protocol) not in COLUMNS:
                sys.exit(f"{case} notes a result for {client} over {protocol}, which the page has no column for")
            fields = lines.setdefault((command, where), {})
            if fields.setdefault((client, protocol), result) != result:
                sys.exit(f"{command} ({where}) with {client} over {protocol} has two results: "
                         f"{fields[(client, protocol)]!r}, and {result!r} in {case}")
            cases.setdefault((command, where), set()).add(case)
    return lines, cases


def main():
    rows, lxc, incus = sys.argv[1:]
    lines, cases = read(rows)
    notes = {}
    out = [HEAD.format(lxc=lxc, incus=incus)]
    for title in [title for title, _ in GROUPS] + ["Other"]:
        members = sorted(key for key in lines if group_of(key[0]) == title)
        if not members:
            continue
        out.append(f"\n## {title}\n\n| command | | lxc, API | incus, API | lxc, streams | incus, streams | case |")
        out.append("\n| --- | --- | --- | --- | --- | --- | --- |\n")
        for command, where in members:
            fields = []
            for column in COLUMNS:
                result = lines[(command, where)].get(column)
                if result is None:
                    fields.append("")
                elif result == "works":
                    fields.append("yes")
                else:
                    verdict, text = ("refused", result[9:]) if result.startswith("refused: ") else ("no", result)
                    fields.append(f"{verdict} [{notes.setdefault(text, len(notes) + 1)}]")
            named = ", ".join(sorted(cases[(command, where)]))
            out.append(f"| `{command}` | {where} | " + " | ".join(fields) + f" | {named} |\n")
    if notes:
        out.append("\n## What is said\n\n")
        for result, number in notes.items():
            out.append(f"{number}. {result}\n")
    sys.stdout.write("".join(out))


main()
