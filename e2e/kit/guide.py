"""The blocks of a page that can be typed: guide.py PAGE prints one JSON object a line.

A block is fenced and says where it is typed, as in ```sh on=server; `fails` after that means that its last command must fail. A
```text block right after it has lines that its output must contain, in any order; … in one stands for anything.
"""

import json
import re
import sys

FENCE = re.compile(r"^```(\w*)[ \t]*(.*)$")


def blocks(lines):
    block = None
    for number, line in enumerate(lines, 1):
        fence = FENCE.match(line)
        if block is None and fence:
            words = fence.group(2).split()
            on = [word[3:] for word in words if word.startswith("on=")]
            block = {"kind": fence.group(1), "line": number, "on": on[0] if on else None, "fails": "fails" in words, "text": ""}
        elif block is not None and line.rstrip() == "```":
            yield block
            block = None
        elif block is not None:
            block["text"] += line


def main():
    last = None
    with open(sys.argv[1], encoding="utf-8") as page:
        for block in blocks(page):
            if block["kind"] == "text" and last:
                last["wanted"] = block["text"]
            elif block["on"]:
                if last:
                    print(json.dumps(last))
                last = block
            elif block["kind"] in ("sh", "toml"):
                sys.exit(f"{sys.argv[1]}:{block['line']}: this block does not say where it is typed, as in ```sh on=server")
    if last:
        print(json.dumps(last))


main()
