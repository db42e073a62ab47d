"""第 17 章：走一遍，看进入了哪些函数"""
import sys

# 训练的一步与采样经过的主要函数
MAIN = ("shared_step", "get_input", "encode_first_stage", "get_first_stage_encoding", "forward", "p_losses", "q_sample", "apply_model",
        "get_learned_conditioning", "get_loss", "sample", "p_sample_loop", "p_sample", "p_mean_variance", "predict_start_from_z_and_v",
        "decode_first_stage")


def entered(run, names=MAIN, modules=("ddpm", "gaussian", "sampling", "conditioning", "objectives", "latent.diffusion")):
    """run() 里先后进入过的函数，一个一行，写成 类.函数；谁调用的，就缩进在谁的下面；只记这几个模块里的这些名字，相邻的重复不记"""
    wanted, seen, inside = {f"ddpm_edu.{name}" for name in modules}, [], []

    def look(frame, event, argument):
        if event == "return" and inside:
            inside.pop()
        if event == "call":
            kept = frame.f_globals.get("__name__") in wanted and frame.f_code.co_name in names
            line = "    " * sum(inside) + owner(frame)
            inside.append(kept)
            if kept and seen[-1:] != [line]:
                seen.append(line)

    sys.setprofile(look)
    try:
        run()
    finally:
        sys.setprofile(None)
    return seen


def owner(frame):
    """类.函数；类是真正写着这个函数的那一个，不是 self 的"""
    code, me = frame.f_code, frame.f_locals.get("self")
    for kind in type(me).__mro__:
        function = vars(kind).get(code.co_name)
        while function is not None and getattr(function, "__code__", code) is not code:
            function = getattr(function, "__wrapped__", None)
        if getattr(function, "__code__", None) is code:
            return f"{kind.__name__}.{code.co_name}"
    return code.co_name
