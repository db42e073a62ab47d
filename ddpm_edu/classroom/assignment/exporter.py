"""nbgrader 的导出插件，各题一行；nbgrader export 自带的 CSV 只有总分：

nbgrader export --exporter ddpm_edu.classroom.assignment.exporter.QuestionExporter --to grades.csv
"""
import csv

from nbgrader.plugins import ExportPlugin

from .grades import COLUMNS


class QuestionExporter(ExportPlugin):
    """写出 COLUMNS 各列；--student、--assignment 照 nbgrader 的用法"""

    def export(self, gradebook):
        with open(self.to or "grades.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for assignment in gradebook.assignments:
                for submission in assignment.submissions if not self.assignment or assignment.name in self.assignment else ():
                    if not self.student or submission.student_id in map(str, self.student):
                        writer.writerows(rows(assignment, submission))


def rows(assignment, submission):
    """一份交来的作业，一题一行；还没有人评的，分数空着"""
    for grade in (grade for notebook in submission.notebooks for grade in notebook.grades):
        score = "" if grade.needs_manual_grade else grade.score
        yield submission.student_id, assignment.name, submission.timestamp, grade.name, score, grade.max_score
