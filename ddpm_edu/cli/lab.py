"""course.py lab 的 JupyterLab：内核说的话一到就转给浏览器"""
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection


class PromptConnection(ZMQChannelsWebsocketConnection):
    """不攒小的消息

    TCP 默认等上一条小消息有了回执才发下一条 (Nagle)，浏览器的回执又要推迟 40 毫秒 (delayed ACK)：拖一下滑块就白等三十多毫秒
    """

    def connect(self):
        self.websocket_handler.set_nodelay(True)
        return super().connect()
