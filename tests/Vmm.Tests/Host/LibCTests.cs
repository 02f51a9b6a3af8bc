using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using Tmds.Linux;
using Vmm.Host;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Host;

/// <summary>The C compiler judges the package Tmds.LibC, as far as it is used, and the declarations beside it.</summary>
public sealed partial class LibCTests
{
    private static readonly string[] Headers =
    [
        "errno.h", "fcntl.h", "limits.h", "malloc.h", "poll.h", "signal.h", "spawn.h", "termios.h", "time.h", "unistd.h",
        "netinet/in.h", "sys/epoll.h", "sys/eventfd.h", "sys/file.h", "sys/ioctl.h", "sys/mman.h", "sys/platform/x86.h", "sys/prctl.h",
        "sys/socket.h", "sys/stat.h", "sys/sysinfo.h", "sys/timerfd.h", "sys/uio.h", "sys/un.h", "sys/wait.h", "net/if.h",
        "linux/fs.h", "linux/if_tun.h", "linux/io_uring.h", "linux/magic.h",
    ];

    private static readonly Type[] Own = [typeof(LibCAdditions), typeof(Boot.LibCOfBoot)];

    [Fact]
    public void Structs_of_the_package_are_those_of_the_headers() =>
        new CLayout(Headers)
            .Struct<flock>("struct flock")
            .Struct<iovec>("struct iovec")
            .Struct<epoll_event>("struct epoll_event")
            .Struct<pollfd>("struct pollfd")
            .Struct<sigset_t>("sigset_t", ("__align", ""), ("__data", "__val"))
            .Struct<sigaction>("struct sigaction", ("__handler", "sa_handler"))
            .Struct<timespec>("struct timespec")
            .Struct<termios>("struct termios", ("__c_ispeed", "c_ispeed"), ("__c_ospeed", "c_ospeed"))
            .Struct<winsize>("struct winsize")
            .Struct<statx>("struct statx", ("__spare0", ""), ("__spare2", ""))
            .Struct<sockaddr_un>("struct sockaddr_un")
            .Struct<sockaddr_in>("struct sockaddr_in", ("__sin_zero", "sin_zero"))
            .Struct<sockaddr_in6>("struct sockaddr_in6")
            .Struct<msghdr>("struct msghdr", ("_msg_iovlen", "msg_iovlen"), ("_msg_controllen", "msg_controllen"))
            .Struct<ucred>("struct ucred")
            .Struct<cmsghdr>("struct cmsghdr", ("_cmsg_len", "cmsg_len"))
            .Struct<io_uring_sqe>("struct io_uring_sqe", ("__pad2", ""))
            .Struct<io_uring_cqe>("struct io_uring_cqe")
            .Struct<io_sqring_offsets>("struct io_sqring_offsets", ("resv2", ""))
            .Struct<io_cqring_offsets>("struct io_cqring_offsets", ("resv", ""))
            .Struct<io_uring_params>("struct io_uring_params")
            .Struct<io_uring_files_update>("struct io_uring_files_update")
            .Constant("offsetof(struct io_cqring_offsets, flags)", (int)Marshal.OffsetOf<io_cqring_offsets>("resv"))
            .Judge();

    [Fact]
    public void Structs_that_the_package_lacks_are_those_of_the_headers() =>
        new CLayout(Headers)
            .Struct<SystemInformation>(
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
            .Struct<Itimerspec>("struct itimerspec", ("Interval", "it_interval"), ("Value", "it_value"))
            .Struct<Statx>(
                "struct statx",
                ("Mask", "stx_mask"),
                ("Links", "stx_nlink"),
                ("UserId", "stx_uid"),
                ("GroupId", "stx_gid"),
                ("Mode", "stx_mode"),
                ("Inode", "stx_ino"),
                ("Size", "stx_size"),
                ("Blocks", "stx_blocks"),
                ("ModifiedSeconds", "stx_mtime.tv_sec"),
                ("ChangedSeconds", "stx_ctime.tv_sec"),
                ("ChangedNanoseconds", "stx_ctime.tv_nsec"),
                ("ModifiedNanoseconds", "stx_mtime.tv_nsec"),
                ("DeviceMajor", "stx_dev_major"),
                ("DeviceMinor", "stx_dev_minor"),
                ("DioMemoryAlign", "stx_dio_mem_align"),
                ("DioOffsetAlign", "stx_dio_offset_align"))
            .Struct<Ifreq>("struct ifreq", ("Name", "ifr_name"), ("Flags", "ifr_flags"))
            .Struct<SpawnFileActions>("posix_spawn_file_actions_t", ("First", ""))
            .Struct<SpawnAttributes>("posix_spawnattr_t", ("First", ""))
            .Struct<Vmm.Devices.Virtio.IoVector>("struct iovec", ("Base", "iov_base"), ("Length", "iov_len"))
            .Judge();

    [Fact]
    public void Numbers_that_the_sources_use_are_those_of_the_headers()
    {
        var judge = new CLayout(Headers);
        foreach (string name in NamesInSources())
        {
            if (ValueOf(name) is { } value)
            {
                _ = value is int number ? judge.Constant(name, number) : judge.Constant(name, (ulong)value);
            }
        }

        Assert.InRange(judge.Count, 120, 400);
        judge.Judge();
    }

    [Fact]
    public void Error_numbers_are_those_of_the_package()
    {
        FieldInfo[] numbers = [.. typeof(ErrnoException).GetFields().Where(field => field.IsLiteral)];
        Assert.InRange(numbers.Length, 20, 130);
        Assert.All(numbers, field => Assert.Equal(ValueOf(field.Name), field.GetRawConstantValue()));
    }

    [Fact]
    public void Nothing_is_declared_that_the_package_has()
    {
        const BindingFlags Declared = BindingFlags.Static | BindingFlags.Public | BindingFlags.DeclaredOnly;
        foreach (MethodInfo own in Own.SelectMany(type => type.GetMethods(Declared)))
        {
            if (own.Name.StartsWith("get_", StringComparison.Ordinal))
            {
                Assert.True(typeof(LibC).GetProperty(own.Name[4..]) is null, own.Name);
                continue;
            }

            // One in capitals is a function of the package that will not do; one with text takes what C# has.
            bool isThere = typeof(LibC).GetMethods(Declared).Any(method => method.Name == EntryPoint(own));
            bool takesText = own.GetParameters().Any(p => p.ParameterType == typeof(string) || p.ParameterType == typeof(ReadOnlySpan<byte>));
            Assert.True(isThere == (char.IsUpper(own.Name[0]) || (takesText && own.Name is not ("realpath" or "rename" or "execv"))), own.Name);
        }
    }

    [Fact]
    public void An_error_names_the_call_the_error_and_the_remedy()
    {
        var error = new ErrnoException("KVM_CREATE_VM", ErrnoException.EIO, "give less --mem");
        Assert.Equal("KVM_CREATE_VM: Input/output error: give less --mem", error.Message);
    }

    private static string EntryPoint(MethodInfo method) =>
        method.GetCustomAttribute<DllImportAttribute>()?.EntryPoint ?? method.Name;

    private static IEnumerable<string> NamesInSources() => Directory
        .EnumerateFiles(Path.Combine(SourceTree.Root, "src"), "*.cs", SearchOption.AllDirectories)
        .SelectMany(file => Constant().Matches(File.ReadAllText(file)).Select(match => match.Groups[1].Value))
        .Distinct();

    /// <returns>An int, or a ulong of what is longer; null for what is no number.</returns>
    private static unsafe object? ValueOf(string name)
    {
        object? value = typeof(LibC).GetProperty(name)?.GetValue(null)
            ?? Own.Select(type => type.GetMethod("get_" + name)?.Invoke(null, null)).FirstOrDefault(found => found is not null);
        return value switch
        {
            null => null,
            Pointer pointer => (ulong)Pointer.Unbox(pointer),
            ulong number => number,
            uint number => unchecked((int)number),
            _ => int.Parse(value.ToString()!, CultureInfo.InvariantCulture),
        };
    }

    [GeneratedRegex(@"\bLibC\.([A-Z][A-Za-z0-9_]*)\b(?!\()")]
    private static partial Regex Constant();
}
