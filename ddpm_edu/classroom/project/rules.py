"""solution.py 的写法：只看，不执行；不合规则的说明是哪一行、为什么"""
import ast
import copy
import difflib
import hashlib
import re
import zlib

SOLUTION = "solution.py"
FUNCTIONS = {"betas": 1, "loss": 3, "sample": 4}
MODULES = ("math", "random", "torch", "numpy", "functools", "itertools", "typing", "dataclasses", "collections")
MOST_TEXT, MOST_NUMBERS, MOST_CODE = 600, 1024, 4096  # 单位：字节；后两个是压缩之后的，诚实的至多 66 与 925
FORBIDDEN = {
    **dict.fromkeys(("open", "eval", "exec", "compile", "__import__", "input", "breakpoint"), "读文件、执行拼出来的代码都不许"),
    **dict.fromkeys(("getattr", "setattr", "delattr", "vars", "globals", "locals", "dir"), "绕过名字去取东西不许，直接写名字"),
}
ALIKE = 0.9  # 各自写的与仓库里的至多 0.58，改几处的抄本 0.98
# 把文字当代码算的，替人 getattr 的
EVALUATING = ("get_type_hints", "ForwardRef", "evaluate_forward_ref", "singledispatch", "singledispatchmethod", "update_wrapper", "wraps")
# torch 与 numpy 里会碰文件、进程、编译的
REACHING = ("load", "save", "hub", "jit", "ops", "classes", "os", "sys", "io", "builtins", "package", "multiprocessing", "distributed", "serialization",
            "fromfile", "tofile", "memmap", "loadtxt", "genfromtxt", "savetxt", "savez", "from_file", "ctypeslib", "f2py", "lib", "cpp_extension",
            "f_back", "f_globals", "f_locals", "tb_frame", "gi_frame", "cr_frame", "load_state_dict_from_url", "model_zoo", "inspect", "importlib")
SUBMODULES = ("torch", "torch.nn", "torch.nn.functional", "torch.linalg", "torch.fft", "torch.special", "numpy", "numpy.linalg", "numpy.fft",
              "collections.abc")


class Refused(ValueError):
    """这一份不收：kind 是「缺漏」（照着改就行）或「违规」；话里写明原因"""

    def __init__(self, reason, kind="缺漏"):
        super().__init__(reason)
        self.kind = kind


def parsed(source):
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Refused(f"{SOLUTION} 第 {getattr(error, 'lineno', '?')} 行有语法错误，Python 的原话是：{getattr(error, 'msg', error)}") from None


def check_source(source):
    """写法：三个函数都在；只导入许可的模块；不读文件、不取私有的名字、不夹带数据"""
    tree = parsed(source)
    defined = {node.name: len(node.args.posonlyargs + node.args.args) for node in tree.body if isinstance(node, ast.FunctionDef)}
    for name, count in FUNCTIONS.items():
        if name not in defined:
            raise Refused(f"{SOLUTION} 里没有函数 {name}")
        if defined[name] != count:
            raise Refused(f"{SOLUTION} 的 {name} 应有 {count} 个参数，得到 {defined[name]} 个")
    try:
        for node in ast.walk(tree):
            check_node(node)
    except RecursionError:
        raise Refused(f"{SOLUTION} 套得太深，读不下去", "违规") from None
    check_cargo(tree)


def check_node(node):
    if isinstance(node, ast.Import):
        for alias in node.names:
            check_module(alias.name, node)
    elif isinstance(node, ast.ImportFrom):
        check_module(node.module if not node.level else ".", node)
        for alias in node.names:
            check_name(alias.name, node, node.module)
    elif isinstance(node, ast.Name) and (node.id in FORBIDDEN or node.id.startswith("__")):
        raise Refused(f"{SOLUTION} 第 {node.lineno} 行用了 {node.id}：{FORBIDDEN.get(node.id, '双下划线的名字不许用')}", "违规")
    elif isinstance(node, ast.MatchClass):
        for name in node.kwd_attrs:
            check_name(name, node, "")
    elif isinstance(node, ast.Attribute):
        check_name(node.attr, node, node.value.id if isinstance(node.value, ast.Name) else "")


def check_module(name, node):
    if name == "ddpm_edu" or (name or "").startswith("ddpm_edu."):
        raise Refused(f"{SOLUTION} 第 {node.lineno} 行导入了 {name}：课程的包（随包的模型也在里面）不许用，三处都要自己写", "违规")
    if name not in MODULES and name not in SUBMODULES:
        raise Refused(f"{SOLUTION} 第 {node.lineno} 行导入了 {name}：只许用 {'、'.join(MODULES)}", "违规")


def check_name(name, node, owner):
    private = name.startswith("_") and not (owner == "self" and not name.startswith("__"))
    if private and name not in ("__init__", "__name__", "__call__", "__post_init__"):
        raise Refused(f"{SOLUTION} 第 {node.lineno} 行用了 {name}：下划线开头的名字（帧、内部状态）不许取", "违规")
    if name == "*":
        raise Refused(f"{SOLUTION} 第 {node.lineno} 行从 {owner} 导入了 *：要用的名字一个个写出来", "违规")
    if name in EVALUATING:
        raise Refused(f"{SOLUTION} 第 {node.lineno} 行用了 {name}：执行拼出来的代码、绕过名字去取东西都不许", "违规")
    if name in REACHING:
        raise Refused(f"{SOLUTION} 第 {node.lineno} 行用了 {owner or '…'}.{name}：读写文件、载入模型、看别处的状态都不许", "违规")


def check_cargo(tree):
    """夹带：文字太多，数或代码压不小；注释、独自成行的文字（文档）程序取不到，不算"""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    spoken = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [node.value for node in found if isinstance(node.value, (str, bytes)) and id(node) not in spoken]
    if (size := sum(len(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")) for text in texts)) > MOST_TEXT:
        raise Refused(f"{SOLUTION} 里引号中的文字共 {size} 字节（一个汉字算 3，至多 {MOST_TEXT}，注释与文档不算）：像是夹带的数据", "违规")
    for node in found:
        if isinstance(node.value, int) and node.value.bit_length() > 64:
            raise Refused(f"{SOLUTION} 第 {node.lineno} 行有一个 {node.value.bit_length()} 位的整数：像是夹带的数据", "违规")
    numbers = " ".join(repr(node.value) for node in found if isinstance(node.value, (int, float, complex)))
    code = "".join(ast.unparse(node) for node in bare(tree).body)
    for name, content, most in (("写的数", numbers, MOST_NUMBERS), ("的代码", code, MOST_CODE)):
        if (packed := len(zlib.compress(content.encode("utf-8", "surrogatepass"), 9))) > most:
            raise Refused(f"{SOLUTION} 里{name}压缩之后还有 {packed} 字节（至多 {most}）：图与权重不许夹带在代码里", "违规")


class Bare(ast.NodeTransformer):
    """去掉独自成行的文字与类型标注；类里的标注换成 None，dataclass 照样认得出各项"""

    def visit_Expr(self, node):
        return ast.copy_location(ast.Pass(), node) if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_FunctionDef(self, node):
        node.returns = None
        return self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_AnnAssign(self, node):
        node.annotation = ast.copy_location(ast.Constant(None), node.annotation)
        return self.generic_visit(node)


def bare(tree):
    """语法树的副本：去掉了文档与类型标注；标注里的文字会被当成代码算，隔离的进程里执行的就是它"""
    return Bare().visit(copy.deepcopy(tree))


def similar_functions(source, ours):
    """source 里与 ours 相像的函数 {名字: 相像的程度，(ALIKE, 1]}；改变量名、添注释与文档都不算不同"""
    known = {name: shape_of(node) for name, node in functions(ours).items()}
    alike = {name: difflib.SequenceMatcher(None, known[name], shape_of(node), autojunk=False).ratio()
             for name, node in functions(source).items() if name in known}
    return {name: ratio for name, ratio in alike.items() if ratio > ALIKE}


def functions(source):
    return {node.name: node for node in parsed(source).body if isinstance(node, ast.FunctionDef) and node.name in FUNCTIONS}


def shape_of(function):
    """语法树去掉名字与文档，一行一个节点"""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return [line for node in body for line in re.sub(r"\b(id|arg|name)='\w+'", r"\1", ast.dump(node, indent=0)).splitlines()]


def training_code(source):
    """训练用的代码的摘要：sample 之外的都算；只改 sample 不变"""
    tree = parsed(source)
    tree.body = [node for node in tree.body if getattr(node, "name", "") != "sample"]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()
