using Vmm.Host;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Host;

public sealed class LibCTests
{
    [Fact]
    public void Structs_of_libc_agree_with_the_C_compiler() =>
        new CLayout(
            "fcntl.h", "sys/uio.h", "sys/epoll.h", "sys/timerfd.h", "poll.h", "signal.h", "termios.h", "time.h",
            "sys/sysinfo.h", "malloc.h")
            .Struct<LibC.Flock>(
                "struct flock",
                ("Type", "l_type"),
                ("Whence", "l_whence"),
                ("Start", "l_start"),
                ("Length", "l_len"),
                ("Pid", "l_pid"))
            .Struct<LibC.SystemInformation>(
                "struct sysinfo",
                ("Load1", "loads[0]"),
                ("Load5", "loads[1]"),
                ("Load15", "loads[2]"),
                ("TotalRam", "totalram"),
                ("FreeRam", "freeram"),
                ("SharedRam", "sharedram"),
                ("BufferRam", "bufferram"),
                ("TotalSwap", "totalswap"),
                ("FreeSwap", "freeswap"),
                ("Processes", "procs"),
                ("TotalHigh", "totalhigh"),
                ("FreeHigh", "freehigh"),
                ("MemoryUnit", "mem_unit"))
            .Struct<LibC.Iovec>("struct iovec", ("Base", "iov_base"), ("Length", "iov_len"))
            .Struct<LibC.EpollEvent>("struct epoll_event")
            .Struct<LibC.Itimerspec>(
                "struct itimerspec",
                ("IntervalSeconds", "it_interval.tv_sec"),
                ("IntervalNanoseconds", "it_interval.tv_nsec"),
                ("ValueSeconds", "it_value.tv_sec"),
                ("ValueNanoseconds", "it_value.tv_nsec"))
            .Struct<LibC.Pollfd>("struct pollfd", ("ReturnedEvents", "revents"))
            .Struct<LibC.Sigset>("sigset_t", ("Signals", "__val[0]"))
            .Struct<LibC.SignalAction>(
                "struct sigaction", ("Handler", "sa_handler"), ("Mask", "sa_mask"), ("Flags", "sa_flags"), ("Restorer", "sa_restorer"))
            .Struct<LibC.Timespec>("struct timespec", ("Seconds", "tv_sec"), ("Nanoseconds", "tv_nsec"))
            .Struct<LibC.Termios>(
                "struct termios",
                ("InputFlags", "c_iflag"),
                ("OutputFlags", "c_oflag"),
                ("ControlFlags", "c_cflag"),
                ("LocalFlags", "c_lflag"),
                ("Line", "c_line"),
                ("ControlCharacters", "c_cc"),
                ("InputSpeed", "c_ispeed"),
                ("OutputSpeed", "c_ospeed"))
            .Constant("F_OFD_SETLK", LibC.F_OFD_SETLK)
            .Constant("M_ARENA_MAX", unchecked((ulong)LibC.M_ARENA_MAX))
            .Constant("O_DIRECT", LibC.O_DIRECT)
            .Constant("O_CLOEXEC", LibC.O_CLOEXEC)
            .Constant("FALLOC_FL_PUNCH_HOLE", LibC.FALLOC_FL_PUNCH_HOLE)
            .Constant("FALLOC_FL_ZERO_RANGE", LibC.FALLOC_FL_ZERO_RANGE)
            .Constant("SIGHUP", LibC.SIGHUP)
            .Constant("SIGINT", LibC.SIGINT)
            .Constant("SIGQUIT", LibC.SIGQUIT)
            .Constant("SIGUSR1", LibC.SIGUSR1)
            .Constant("SIGTERM", LibC.SIGTERM)
            .Constant("SA_RESTART", LibC.SA_RESTART)
            .Judge();

    [Fact]
    public void Structs_and_numbers_of_the_network_agree_with_the_C_compiler() =>
        new CLayout(
            "sys/socket.h", "sys/un.h", "netinet/in.h", "sys/ioctl.h", "linux/if_tun.h", "net/if.h", "spawn.h", "sys/prctl.h")
            .Struct<LibC.SockaddrUn>("struct sockaddr_un", ("Family", "sun_family"), ("Path", "sun_path"))
            .Struct<LibC.SockaddrIn>("struct sockaddr_in", ("Family", "sin_family"), ("Port", "sin_port"), ("Address", "sin_addr"), ("Zero", "sin_zero"))
            .Struct<LibC.SockaddrIn6>(
                "struct sockaddr_in6", ("Family", "sin6_family"), ("Port", "sin6_port"), ("FlowInfo", "sin6_flowinfo"), ("Address", "sin6_addr"),
                ("ScopeId", "sin6_scope_id"))
            .Struct<LibC.Msghdr>(
                "struct msghdr", ("Name", "msg_name"), ("NameLength", "msg_namelen"), ("Vectors", "msg_iov"), ("VectorCount", "msg_iovlen"),
                ("Control", "msg_control"), ("ControlLength", "msg_controllen"), ("Flags", "msg_flags"))
            .Struct<LibC.Cmsghdr>("struct cmsghdr", ("Length", "cmsg_len"), ("Level", "cmsg_level"), ("Type", "cmsg_type"))
            .Struct<LibC.Ifreq>("struct ifreq", ("Name", "ifr_name"), ("Flags", "ifr_flags"))
            .Struct<LibC.SpawnFileActions>("posix_spawn_file_actions_t", ("First", ""))
            .Struct<LibC.SpawnAttributes>("posix_spawnattr_t", ("First", ""))
            .Constant("AF_INET6", LibC.AF_INET6)
            .Constant("SCM_RIGHTS", LibC.SCM_RIGHTS)
            .Constant("MSG_NOSIGNAL", LibC.MSG_NOSIGNAL)
            .Constant("POSIX_SPAWN_SETPGROUP", (ulong)LibC.POSIX_SPAWN_SETPGROUP)
            .Constant("MSG_PEEK", LibC.MSG_PEEK)
            .Constant("MSG_DONTWAIT", LibC.MSG_DONTWAIT)
            .Constant("SOCK_CLOEXEC", LibC.SOCK_CLOEXEC)
            .Constant("SOCK_NONBLOCK", LibC.SOCK_NONBLOCK)
            .Constant("SO_REUSEADDR", LibC.SO_REUSEADDR)
            .Constant("IPV6_V6ONLY", LibC.IPV6_V6ONLY)
            .Constant("TUNSETIFF", LibC.TUNSETIFF)
            .Constant("TUNSETOFFLOAD", LibC.TUNSETOFFLOAD)
            .Constant("TUNGETIFF", LibC.TUNGETIFF)
            .Constant("TUNSETVNETHDRSZ", LibC.TUNSETVNETHDRSZ)
            .Constant("TUNSETQUEUE", LibC.TUNSETQUEUE)
            .Constant("SIOCSIFFLAGS", LibC.SIOCSIFFLAGS)
            .Constant("IFF_VNET_HDR", LibC.IFF_VNET_HDR)
            .Constant("IFF_MULTI_QUEUE", LibC.IFF_MULTI_QUEUE)
            .Constant("TUN_F_UFO", LibC.TUN_F_UFO)
            .Constant("POSIX_SPAWN_SETSIGMASK", (ulong)LibC.POSIX_SPAWN_SETSIGMASK)
            .Constant("PR_SET_CHILD_SUBREAPER", LibC.PR_SET_CHILD_SUBREAPER)
            .Judge();

    [Fact]
    public void An_error_names_the_call_the_error_and_the_remedy()
    {
        var error = new ErrnoException("KVM_CREATE_VM", ErrnoException.ENOMEM, "give less --mem");
        Assert.Equal("KVM_CREATE_VM: Cannot allocate memory: give less --mem", error.Message);
    }
}
