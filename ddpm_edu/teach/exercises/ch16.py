"""第 16 章：找 bug。十二个病例各有一道选择题（16.1 起）与一道修好题（16.1b 起），接着是三个猎场"""
from .bug_causes import CAUSES
from .bug_hunts import HUNTS
from .bug_repairs import REPAIRS

BY_ID = {exercise.id: exercise for exercise in (*CAUSES, *REPAIRS)}
EXERCISES = (*(BY_ID[cause.id + half] for cause in CAUSES for half in ("", "b")), *HUNTS)
