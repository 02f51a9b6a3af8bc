using Vmm.Host;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Host;

public sealed class LibCTests
{
    [Fact]
    public void Structs_of_libc_agree_with_the_C_compiler() =>
        new CLayout(
            "fcntl.h", "sys/uio.h", "sys/epoll.h", "sys/timerfd.h", "poll.h", "signal.h", "termios.h", "time.h")
            .Struct<LibC.Flock>(
                "struct flock",
                ("Type", "l_type"),
                ("Whence", "l_whence"),
                ("Start", "l_start"),
                ("Length", "l_len"),
                ("Pid", "l_pid"))
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
            .Constant("O_DIRECT", LibC.O_DIRECT)
            .Constant("O_CLOEXEC", LibC.O_CLOEXEC)
            .Constant("FALLOC_FL_PUNCH_HOLE", LibC.FALLOC_FL_PUNCH_HOLE)
            .Constant("FALLOC_FL_ZERO_RANGE", LibC.FALLOC_FL_ZERO_RANGE)
            .Constant("SIGUSR1", LibC.SIGUSR1)
            .Judge();

    [Fact]
    public void An_error_names_the_call_the_error_and_the_remedy()
    {
        var error = new ErrnoException("KVM_CREATE_VM", ErrnoException.ENOMEM, "give less --mem");
        Assert.Equal("KVM_CREATE_VM: Cannot allocate memory: give less --mem", error.Message);
    }
}
