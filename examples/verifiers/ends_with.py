"""A verifier for `command`: a candidate is correct when its last word is the reference."""

import json
import sys

for line in sys.stdin:
    candidate = json.loads(line)
    words = candidate["text"].split()
    answer = words[-1].strip(".!") if words else None
    correct = answer == candidate["problem"]["reference"]
    reason = None if correct else f"the last word is {answer}"
    verdict = {"id": candidate["id"], "correct": correct, "answer": answer, "reason": reason}
    print(json.dumps(verdict), flush=True)
