"""只听本机、会出各种故障的文件服务器；网址是 /故障名/文件名，每种故障都有尽头"""
import http.server
import threading
import time


class FaultyServer(http.server.ThreadingHTTPServer):
    """files：文件名（可带目录）→ 内容；seen：依次收到的 (路径, Range 头)；sent：依次答复的正文字节数"""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.seen, self.sent = {}, [], []
        self.gate = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def url(self, fault):
        return f"http://127.0.0.1:{self.server_port}/{fault}"

    def handle_error(self, request, client_address):
        """客户端半路走掉是这里的常事"""


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.seen.append((self.path, self.headers["Range"]))
        _, fault, name = self.path.split("/", 2)
        content = self.server.files.get(name)
        getattr(self, f"answer_{fault}")(content) if content is not None else self.send_error(404)

    def reply(self, body, status=200, **headers):
        self.send_response(status)
        for key, value in {"Content_Length": len(body), "Content_Type": "application/gzip", **headers}.items():
            if value is not None:
                self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()
        self.server.sent.append(len(body))
        self.wfile.write(body)

    def answer_ok(self, content):
        if self.headers["Range"] is None:
            return self.reply(content)
        start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.reply(content[start:], 206, Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}")

    def answer_norange(self, content):
        self.reply(content)

    def answer_norange416(self, content):
        self.send_error(416) if self.headers["Range"] else self.reply(content)

    def answer_misplaced(self, content):
        if self.headers["Range"]:
            return self.reply(content, 206, Content_Range=f"bytes 0-{len(content) - 1}/{len(content)}")
        self.reply(content)

    def answer_404(self, content):
        self.send_error(404)

    def answer_503(self, content):
        self.send_error(503)

    def answer_truncated(self, content):
        self.reply(content[:len(content) // 2], Content_Length=len(content))

    def answer_wrong(self, content):
        self.reply(bytes(b ^ 1 for b in content))

    def answer_short(self, content):
        self.reply(content[:-1])

    def answer_html(self, content):
        self.reply(b"<!DOCTYPE html><title>login</title>", Content_Type="text/html; charset=utf-8")

    def answer_loop(self, content):
        self.reply(b"", 302, Location=self.path)

    def answer_endless(self, content):
        self.reply(b"", Content_Length=None)
        for _ in range(1000):
            self.wfile.write(bytes(1 << 16))

    def answer_drip(self, content):
        self.reply(b"", Content_Length=len(content))
        for i in range(1500):
            self.wfile.write(content[i:i + 1])
            time.sleep(0.01)

    def answer_silent(self, content):
        self.server.gate.wait(20)

    def answer_gated(self, content):
        """先给一半，等 gate 打开再给另一半；续传的请求立刻答复"""
        if self.headers["Range"]:
            return self.answer_ok(content)
        half = len(content) // 2
        self.reply(content[:half], Content_Length=len(content))
        self.server.gate.wait(20)
        self.wfile.write(content[half:])
