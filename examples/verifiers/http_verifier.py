"""A verifier for `http`: the shorter a candidate with the right last word, the better. python3 http_verifier.py PORT"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def judge(candidate):
    words = candidate["text"].split()
    answer = words[-1].strip(".!") if words else None
    correct = answer == candidate["problem"]["reference"]
    score = 1 / len(words) if correct else 0
    return {"id": candidate["id"], "correct": correct, "score": score, "answer": answer}


class Verifier(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = json.dumps({"verdicts": [judge(each) for each in body["candidates"]]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Verifier)
print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
server.serve_forever()
