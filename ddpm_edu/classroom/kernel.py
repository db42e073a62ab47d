"""Linux：让内核来管隔离的进程。Landlock 管文件，seccomp 管网络、新进程、信号与文件的属性，另放弃 root 的特权

不需要 root，不需要命名空间，容器里一般也能用；内核太旧、或架构不认得时，做不到的那一项就没有
"""
import ctypes
import os
import platform
import resource
import signal
import struct

# 系统调用的编号：x86_64 与 aarch64；后者没有的写 None
FORBIDDEN = {
    "socket": (41, 198), "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281), "ptrace": (101, 117),
    "kill": (62, 129), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "unshare": (272, 97), "setns": (308, 268), "bpf": (321, 280),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None), "fchown": (93, 55),
    "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15),
    "fremovexattr": (199, 16), "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180), "add_key": (248, 217),
    "request_key": (249, 218), "keyctl": (250, 219), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
}
CLONE, CLONE3, CLONE_THREAD = (56, 220), 435, 0x10000
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026
LOAD, EQUAL, ANY_BIT, AT_LEAST, RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
# Landlock 的权限：读文件与列目录，以及第几版起才认得的那几种写
READ, LIST, WRITE_FILE, EXECUTE = 0b1100, 0b1000, 0b10, 0b1
RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
NO_NEW_PRIVILEGES, SECCOMP, DIE_WITH_PARENT = 38, 22, 1
# 本进程做到了的几项
in_force = []


def limit(seconds, memory, file_size):
    """CPU 的秒数、比现在多用的内存、单个文件的大小（字节）；没有核心转储"""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    if platform.system() == "Linux":
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    else:
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def confine(readable, writable, listable=()):
    """readable 与 writable 里的文件夹之外，读写都不许，listable 里的只许看有些什么；在自己的进程里用，之后不能放开；做到了的几项记在 in_force 里"""
    if platform.system() != "Linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    done = {"Landlock": _landlock(libc, readable, writable, listable), "放弃特权": _drop_capabilities(libc), "seccomp": _seccomp(libc)}
    in_force.extend(name for name, worked in done.items() if worked)


def report(job):
    """隔离的进程里问：内核管着哪几项"""
    return list(in_force)


def _landlock(libc, readable, writable, listable):
    version = libc.syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if version < 1:
        return False
    rights = RIGHTS.get(version, RIGHTS[3])
    # 第 4 版起管 TCP，第 6 版起管抽象的 socket 与发给外面的信号；内核按长度认得旧的写法
    wanted = struct.pack("QQQ", rights, 3, 3)[:8 if version < 4 else 16 if version < 6 else 24]
    rules = libc.syscall(444, wanted, ctypes.c_size_t(len(wanted)), ctypes.c_uint32(0))
    if rules < 0:
        return False
    for paths, allowed in ((listable, LIST), (readable, READ), (writable, rights & ~EXECUTE), ([os.devnull], READ | WRITE_FILE)):
        for path in filter(os.path.exists, paths):
            handle = os.open(path, os.O_PATH)
            # 规则若是写给一个文件的，列目录、造文件之类的权限就不许写
            kept = allowed if os.path.isdir(path) else allowed & 0b100000000000110 & rights
            libc.syscall(445, rules, 1, struct.pack("=Qi", kept, handle), 0)
            os.close(handle)
    worked = libc.syscall(446, rules, 0) == 0
    os.close(rules)
    return worked


def _drop_capabilities(libc):
    return libc.capset(struct.pack("Ii", 0x20080522, 0), bytes(24)) == 0


def _seccomp(libc):
    if platform.machine() not in ARCHITECTURES or struct.calcsize("P") != 8:
        return False
    column, architecture = ARCHITECTURES[platform.machine()]
    numbers = [number for number in (both[column] for both in FORBIDDEN.values()) if number is not None]
    # 依次：架构不符就不许；x32 的编号不许；clone 只许造线程；clone3 假装没有，libc 会改用 clone
    program = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, EPERM), (LOAD, 0, 0, 0), (AT_LEAST, 0, 1, 0x40000000), (RETURN, 0, 0, EPERM)]
    for number in numbers:
        program += [(EQUAL, 0, 1, number), (RETURN, 0, 0, EPERM)]
    program += [(EQUAL, 0, 1, CLONE3), (RETURN, 0, 0, ENOSYS), (EQUAL, 1, 0, CLONE[column]), (RETURN, 0, 0, ALLOW),
                (LOAD, 0, 0, 16), (ANY_BIT, 1, 0, CLONE_THREAD), (RETURN, 0, 0, EPERM), (RETURN, 0, 0, ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    return libc.prctl(SECCOMP, 2, struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)), 0, 0) == 0
