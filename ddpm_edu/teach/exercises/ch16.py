"""第 16 章：找 bug。每个病例一道选择题（16.1 起），有的再加一道修复题（16.1b）"""
from .bug_causes import CAUSES
from .bug_repairs import REPAIRS

BY_ID = {exercise.id: exercise for exercise in (*CAUSES, *REPAIRS)}
EXERCISES = tuple(BY_ID[number] for cause in CAUSES for number in (cause.id, f"{cause.id}b") if number in BY_ID)
