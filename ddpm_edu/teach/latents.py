"""第 17 章：走一遍，看进入了哪些函数"""
import sys


def entered(run, modules=("ddpm", "gaussian", "sampling", "conditioning", "objectives", "latent.diffusion", "latent.autoencoder")):
    """按先后记下 run() 里进入过的函数，只看这几个模块，相邻的重复不记"""
    wanted, seen = {f"ddpm_edu.{name}" for name in modules}, []

    def look(frame, event, argument):
        name = frame.f_code.co_name
        if event == "call" and frame.f_globals.get("__name__") in wanted and name[0] not in "<_" and seen[-1:] != [name]:
            seen.append(name)

    sys.setprofile(look)
    try:
        run()
    finally:
        sys.setprofile(None)
    return seen
