"""教师用的工具：重判交来的 notebook。交来的程序不可信，一律在隔离的进程里运行，见 isolation.py"""
