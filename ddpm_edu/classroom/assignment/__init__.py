"""习题与 nbgrader、otter-grader 的作业互换，分数收回来：python course.py assignment"""
