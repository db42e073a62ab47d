"""课堂：重判交来的 notebook，与 nbgrader、otter-grader 互换，大作业。学生的程序不可信，一律在隔离的进程里运行，见 isolation.py"""
