"""The books of one cycle: what was confirmed and not delivered is there, once, and nothing else.

Prints: confirmed, delivered, found after the cut, broken promises.
"""

import sys

cycle, said, *found_paths = sys.argv[1:]
confirmed = {"keep": {}, "load": {}}
delivered = {}
text = open(said, errors="replace").read().replace("\r", "")
# The last line may be cut.
for line in text.split("\n")[:-1]:
    words = line.split(" ")
    if len(words) == 2 and words[0] == "C" and "@" in words[1]:
        queue = words[1].split("@")[0]
        if queue in confirmed:
            known = confirmed[queue]
            known[words[1]] = len(known) + 1
    elif len(words) == 3 and words[0] == "D":
        delivered[words[1]] = words[2]

broken = []
found_in_all = 0
for queue, path in zip(("keep", "load"), found_paths):
    found = {}
    bodies = set()
    for line in open(path):
        name, body = line.split()
        of_cycle, of_queue, number, _ = body.split("-")
        found_in_all += 1
        if name in found or body in bodies:
            broken.append(f"{name} is there twice")
        found[name] = int(number)
        bodies.add(body)
        if (of_cycle, of_queue) != (cycle, queue) or body.count("x") != 200:
            broken.append(f"{name} was never sent so: {body[:40]}")
        known = confirmed[queue].get(name)
        if known is not None and known != int(number):
            broken.append(f"{name} was confirmed for {known} and holds {number}")
    for name, number in confirmed[queue].items():
        if name not in found and not (queue == "load" and name in delivered):
            broken.append(f"{name} ({number}) was confirmed and is gone")
for one in broken[:10]:
    print(one, file=sys.stderr)
count = sum(len(each) for each in confirmed.values())
print(count, len(delivered), found_in_all, len(broken))
